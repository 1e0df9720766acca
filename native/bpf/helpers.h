/* Kernel headers and helper functions that the programs use. */
#ifndef TERWAY_HELPERS_H
#define TERWAY_HELPERS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for little endian machines"
#endif
#define NETWORK16(x) ((__u16)((((x) & 0xff) << 8) | ((x) >> 8)))

/*
 * Keeps the compiler from recomputing a value: it would keep a pointer into the context, or store part of a word, and the verifier
 * allows neither.
 */
#define FIXED(value) asm volatile("" : "+r"(value))

/* Helper functions by number: enum bpf_func_id. */
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static long (*load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to, __u32 size) = (void *)26;
static long (*fib_lookup)(void *context, struct bpf_fib_lookup *route, int size, __u32 flags) = (void *)69;
static long (*redirect_neigh)(__u32 link, void *next_hop, int size, __u64 flags) = (void *)152;
static long (*vlan_push)(struct __sk_buff *skb, __u16 protocol, __u16 tci) = (void *)18;
static long (*vlan_pop)(struct __sk_buff *skb) = (void *)19;

INLINE int is_tag(__u32 protocol)
{
	return protocol == NETWORK16(ETH_P_8021Q) || protocol == NETWORK16(ETH_P_8021AD);
}

INLINE int same_ip6(const void *a, const void *b)
{
	const __u32 *left = a;
	const __u32 *right = b;

	return left[0] == right[0] && left[1] == right[1] && left[2] == right[2] && left[3] == right[3];
}

#endif
