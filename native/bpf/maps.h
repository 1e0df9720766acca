/* The maps that the programs share with the agent (src/datapath/bpf/entries.ts has the same layouts), and the counting of verdicts. */
#ifndef TERWAY_MAPS_H
#define TERWAY_MAPS_H

#include "helpers.h"

struct map_definition {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

/* The tag of packets from and to one address of a member ENI. */
struct tag {
	__u16 vlan_id;
	/* One more than the packet priority to set, by which qdiscs with bands sort; 0 leaves the packet's own. */
	__u16 priority;
	/* The trunk's index in the node's namespace. */
	__u32 trunk;
	/* Hash of the sandbox it belongs to; only the agent reads it. */
	__u64 owner;
};

/* One pod interface, by the index of the host's end of its veth. */
struct veth {
	__u32 mark;
	__u32 mark_mask;
	__u32 flags;
	__u32 ip4;
	__u8 ip6[16];
	__u64 owner;
};
#define HAS_IPV4 1
#define HAS_IPV6 2

struct vlan_key {
	__u32 trunk;
	__u32 vlan_id;
};

/* The 802.1Q device of a pod, whose tags are not ours. */
struct vlan {
	__u64 owner;
	__u32 flags;
	__u32 ip4;
	__u8 ip6[16];
};

/* A connection to a pod with a whole ENI, from the pod's side. An IPv4 address is in the first four bytes. */
struct flow {
	__u8 pod[16];
	__u8 peer[16];
	__u16 pod_port;
	__u16 peer_port;
	__u32 protocol;
};

struct settings {
	/* The bit of a mark for packets from a pod with a member ENI. */
	__u32 member_bit;
};

enum verdict {
	TAGGED,
	UNTAGGED,
	PASSED,
	NO_ENTRY,
	WRONG_VLAN,
	DOUBLE_TAG,
	MISSING_TAG,
	SPOOFED_SOURCE,
	VERDICTS,
};

struct map_definition SECTION("maps") tag4 = { BPF_MAP_TYPE_HASH, 4, sizeof(struct tag), 65536, BPF_F_NO_PREALLOC };
struct map_definition SECTION("maps") tag6 = { BPF_MAP_TYPE_HASH, 16, sizeof(struct tag), 65536, BPF_F_NO_PREALLOC };
struct map_definition SECTION("maps") veths = { BPF_MAP_TYPE_HASH, 4, sizeof(struct veth), 16384, BPF_F_NO_PREALLOC };
struct map_definition SECTION("maps") vlans = { BPF_MAP_TYPE_HASH, sizeof(struct vlan_key), sizeof(struct vlan), 4096,
						BPF_F_NO_PREALLOC };
/* Connections that came to a pod with a whole ENI through its node: the link by which they came, in the pod. */
struct map_definition SECTION("maps") flows = { BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow), 4, 32768, 0 };
struct map_definition SECTION("maps") verdicts = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, VERDICTS, 0 };
struct map_definition SECTION("maps") settings = { BPF_MAP_TYPE_ARRAY, 4, sizeof(struct settings), 1, 0 };

INLINE void count(enum verdict verdict)
{
	__u32 key = verdict;
	__u64 *counter = map_lookup(&verdicts, &key);

	if (counter)
		*counter += 1;
}

INLINE int drop(enum verdict verdict)
{
	count(verdict);
	return TC_ACT_SHOT;
}

INLINE int pass(void)
{
	count(PASSED);
	return TC_ACT_UNSPEC;
}

/* The tag of the address at `offset4` of an IPv4 header or at `offset6` of an IPv6 header; NULL for anything else. */
INLINE struct tag *tag_of(struct __sk_buff *skb, __u32 protocol, __u32 offset4, __u32 offset6)
{
	__u8 address[16];

	if (protocol == NETWORK16(ETH_P_IP))
		return load_bytes(skb, ETH_HLEN + offset4, address, 4) == 0 ? map_lookup(&tag4, address) : NULL;
	if (protocol == NETWORK16(ETH_P_IPV6))
		return load_bytes(skb, ETH_HLEN + offset6, address, 16) == 0 ? map_lookup(&tag6, address) : NULL;
	return NULL;
}

#endif
