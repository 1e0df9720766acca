/* Programs that are attached to a link by TCX, ours and others' (Linux 6.6). */
#define _GNU_SOURCE
#include "bpf_call.h"
#include "operations.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of enum bpf_attach_type and the flags for attaching, which headers before Linux 6.6 lack. */
enum { TCX_INGRESS = 46, TCX_EGRESS = 47, TCX_LIMIT = 64, REPLACE = 1 << 2, BEFORE = 1 << 3 };

/* What this kernel knows of BPF_PROG_QUERY for links; the union of older headers has less. */
struct query_of_link {
	uint32_t link;
	uint32_t attach_type;
	uint32_t query_flags;
	uint32_t attach_flags;
	uint64_t ids;
	uint32_t count;
	uint32_t reserved;
	uint64_t more[4];
};

/* The same for BPF_PROG_ATTACH and BPF_PROG_DETACH. */
struct attach_to_link {
	uint32_t link;
	uint32_t program;
	uint32_t attach_type;
	uint32_t flags;
	uint32_t replaced;
	uint32_t relative;
	uint64_t revision;
};

static uint32_t tcx_type(uint32_t is_egress)
{
	return is_egress != 0 ? TCX_EGRESS : TCX_INGRESS;
}

/* A descriptor, or -errno. */
static int program_by_id(uint32_t id)
{
	union bpf_attr attr = { .prog_id = id };

	return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

static int name_of_program(uint32_t id, char name[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info program = { 0 };
	union bpf_attr attr = { 0 };
	int fd = program_by_id(id);
	int error;

	if (fd < 0)
		return fd;
	attr = (union bpf_attr){ .info = { .bpf_fd = (uint32_t)fd, .info_len = sizeof(program), .info = pointer(&program) } };
	error = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	close(fd);
	if (error == 0)
		memcpy(name, program.name, BPF_OBJ_NAME_LEN);
	return error;
}

/*
 * (u32 link of the node, u32 1 for the way out) → u32 whether this kernel has TCX programs; for each of them there, in their
 * order, its u32 id and 16 bytes of name
 */
int do_tcx_query(struct fields *fields, struct answer *answer)
{
	uint32_t ids[TCX_LIMIT] = { 0 };
	struct query_of_link query = { .link = field_u32(fields), .ids = pointer(ids), .count = TCX_LIMIT };

	query.attach_type = tcx_type(field_u32(fields));
	if (!fields_done(fields))
		return EBADMSG;
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0) {
		/* A hook without programs is ENOENT, an attach type that is not known EINVAL. */
		if (errno != ENOENT && errno != EINVAL)
			return answer_failure(answer, errno, "query programs of a link");
		answer_u32(answer, errno == ENOENT);
		return 0;
	}
	answer_u32(answer, 1);
	for (uint32_t at = 0; at < query.count && at < TCX_LIMIT; at++) {
		char name[BPF_OBJ_NAME_LEN] = "";

		/* One that has gone meanwhile has no name. */
		name_of_program(ids[at], name);
		answer_u32(answer, ids[at]);
		answer_bytes(answer, name, sizeof(name));
	}
	return 0;
}

/* (u32 link of the node, u32 1 for the way out, u32 program, u32 id of the one that it replaces, or 0 to be the first) → nothing */
int do_tcx_attach(struct fields *fields, struct answer *answer)
{
	struct attach_to_link attach = { .link = field_u32(fields), .flags = BEFORE };
	uint32_t replaced;
	int fd = -1;
	long result;
	int error;

	attach.attach_type = tcx_type(field_u32(fields));
	attach.program = field_u32(fields);
	replaced = field_u32(fields);
	if (!fields_done(fields) || !handle_find(attach.program, HANDLE_PROGRAM))
		return EBADMSG;
	if (replaced != 0) {
		fd = program_by_id(replaced);
		if (fd < 0)
			return answer_failure(answer, -fd, "open the program that is replaced");
		attach.replaced = (uint32_t)fd;
		attach.flags = REPLACE;
	}
	result = syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach));
	error = result < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	return error ? answer_failure(answer, error, "attach a TCX program") : 0;
}

/* (u32 link of the node, u32 1 for the way out, u32 id of the program) → nothing */
int do_tcx_detach(struct fields *fields, struct answer *answer)
{
	struct attach_to_link detach = { .link = field_u32(fields) };
	uint32_t id;
	long result;
	int error;
	int fd;

	detach.attach_type = tcx_type(field_u32(fields));
	id = field_u32(fields);
	if (!fields_done(fields))
		return EBADMSG;
	fd = program_by_id(id);
	if (fd < 0)
		return answer_failure(answer, -fd, "open the program that is detached");
	detach.program = (uint32_t)fd;
	result = syscall(SYS_bpf, BPF_PROG_DETACH, &detach, sizeof(detach));
	error = result < 0 ? errno : 0;
	close(fd);
	return error ? answer_failure(answer, error, "detach a TCX program") : 0;
}
