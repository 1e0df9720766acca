/*
 * frames tcx LINK ingress|egress first|last   attaches a TCX program that lets every packet pass, and so ends its way
 *                                             through the programs and filters behind it; prints `ready`, and takes it
 *                                             off with the end of standard input
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "frames.h"

/* Of headers of Linux 6.6: enum bpf_attach_type, enum tcx_action_base, and the fields of BPF_LINK_CREATE. */
enum { TCX_INGRESS = 46, TCX_EGRESS = 47, TCX_PASS = 0, BEFORE = 1 << 3 };

struct link_create {
	uint32_t program;
	uint32_t link;
	uint32_t attach_type;
	uint32_t flags;
	uint64_t more[2];
};

int tcx(int argc, char **argv)
{
	struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TCX_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_SCHED_CLS };
	struct link_create create = { 0 };
	char waste[64];
	long fd;

	if (argc != 4)
		return 2;
	load.insns = (uint64_t)(uintptr_t)pass;
	load.insn_cnt = sizeof(pass) / sizeof(*pass);
	load.license = (uint64_t)(uintptr_t) "GPL";
	memcpy(load.prog_name, "stranger", 8);
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	create.program = (uint32_t)fd;
	create.link = if_nametoindex(argv[1]);
	create.attach_type = strcmp(argv[2], "egress") == 0 ? TCX_EGRESS : TCX_INGRESS;
	create.flags = strcmp(argv[3], "first") == 0 ? BEFORE : 0;
	if (fd < 0 || syscall(SYS_bpf, BPF_LINK_CREATE, &create, sizeof(create)) < 0) {
		perror(argv[1]);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, waste, sizeof(waste)) > 0)
		;
	return 0;
}
