/* The system call bpf(2), for the files that make it. */
#ifndef TERWAY_BPF_CALL_H
#define TERWAY_BPF_CALL_H

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns what the call does, or -errno. */
static inline int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

static inline uint64_t pointer(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

#endif
