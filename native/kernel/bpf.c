#define _GNU_SOURCE
#include "operations.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOG_SIZE = 1 << 18, VALUE_LIMIT = 1 << 20 };

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

static uint64_t pointer(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static bool per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* As many as the kernel copies for each entry of a per-CPU map; never fewer. */
static uint32_t possible_cpus(void)
{
	FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned last = 1023;
	char text[256];
	char *tail;

	if (file) {
		if (fgets(text, sizeof(text), file)) {
			/* Such as `0-7` or `0,2-3`: the last number is the highest. */
			tail = strpbrk(text, "-,") ? text + strcspn(text, "\n") : text;
			while (tail > text && tail[-1] != '-' && tail[-1] != ',')
				tail--;
			last = (unsigned)strtoul(tail, NULL, 10);
		}
		fclose(file);
	}
	return last + 1;
}

/* Keeps the descriptor of a map or a program with what the kernel says about it, and answers the handle. */
static int keep_object(int fd, struct answer *answer)
{
	struct bpf_map_info map = { 0 };
	union bpf_attr attr = { .info = { .bpf_fd = (uint32_t)fd, .info_len = sizeof(map), .info = pointer(&map) } };
	struct handle handle = { .kind = HANDLE_PROGRAM };
	char link[32] = "";
	char path[32];
	ssize_t size;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	size = readlink(path, link, sizeof(link) - 1);
	if (size > 0 && strstr(link, "bpf-map")) {
		int error = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);

		if (error < 0) {
			close(fd);
			return answer_failure(answer, -error, "information about a map");
		}
		handle = (struct handle){
			.kind = HANDLE_MAP,
			.key_size = map.key_size,
			.value_size = map.value_size,
			.max_entries = map.max_entries,
		};
		if (per_cpu(map.type))
			handle.value_size = ((map.value_size + 7) & ~7U) * possible_cpus();
	} else if (size <= 0 || !strstr(link, "bpf-prog")) {
		close(fd);
		return answer_failure(answer, EINVAL, "neither a map nor a program");
	}
	if (!handle_keep(fd, handle))
		return answer_failure(answer, EMFILE, "too many handles");
	answer_u32(answer, (uint32_t)fd);
	return 0;
}

static void copy_name(char *to, const char *name)
{
	strncpy(to, name, BPF_OBJ_NAME_LEN - 1);
}

/* Kernels before 5.11 count maps and programs against RLIMIT_MEMLOCK. */
static void lift_memlock(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* (u32 type, u32 key size, u32 value size, u32 entries, u32 flags, text name) → u32 handle */
int do_map_create(struct fields *fields, struct answer *answer)
{
	union bpf_attr attr = { 0 };
	const char *name;
	int fd;

	attr.map_type = field_u32(fields);
	attr.key_size = field_u32(fields);
	attr.value_size = field_u32(fields);
	attr.max_entries = field_u32(fields);
	attr.map_flags = field_u32(fields);
	name = field_text(fields);
	if (!fields_done(fields))
		return EBADMSG;
	copy_name(attr.map_name, name);
	lift_memlock();
	fd = bpf(BPF_MAP_CREATE, &attr);
	return fd < 0 ? answer_failure(answer, -fd, "create a map") : keep_object(fd, answer);
}

/* (u32 map, bytes key) → the value */
int do_map_lookup(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);
	struct bytes key = field_bytes(fields);
	const struct handle *map = handle_find(number, HANDLE_MAP);
	union bpf_attr attr = { 0 };
	uint8_t *value;
	int error;

	if (!fields_done(fields) || !map || key.size != map->key_size || map->value_size > VALUE_LIMIT)
		return EBADMSG;
	value = calloc(1, map->value_size);
	if (!value)
		return ENOMEM;
	attr.map_fd = number;
	attr.key = pointer(key.data);
	attr.value = pointer(value);
	error = bpf(BPF_MAP_LOOKUP_ELEM, &attr);
	if (error == 0)
		answer_bytes(answer, value, map->value_size);
	free(value);
	return error < 0 ? answer_failure(answer, -error, "look up an entry") : 0;
}

/* (u32 map, u32 flags, bytes keys and values, one pair after another) → u32 how many were written */
int do_map_update(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);
	uint64_t flags = field_u32(fields);
	struct bytes pairs = field_bytes(fields);
	const struct handle *map = handle_find(number, HANDLE_MAP);
	size_t pair = map ? (size_t)map->key_size + map->value_size : 0;
	size_t at;

	if (!fields_done(fields) || pair == 0 || pairs.size % pair != 0)
		return EBADMSG;
	for (at = 0; at < pairs.size; at += pair) {
		union bpf_attr attr = { 0 };
		int error;

		attr.map_fd = number;
		attr.key = pointer(pairs.data + at);
		attr.value = pointer(pairs.data + at + map->key_size);
		attr.flags = flags;
		error = bpf(BPF_MAP_UPDATE_ELEM, &attr);
		if (error < 0)
			return answer_failure(answer, -error, "update an entry");
	}
	answer_u32(answer, (uint32_t)(at / pair));
	return 0;
}

/* (u32 map, bytes keys) → u32 how many there were; a key without an entry is no failure */
int do_map_delete(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);
	struct bytes keys = field_bytes(fields);
	const struct handle *map = handle_find(number, HANDLE_MAP);
	uint32_t deleted = 0;

	if (!fields_done(fields) || !map || map->key_size == 0 || keys.size % map->key_size != 0)
		return EBADMSG;
	for (size_t at = 0; at < keys.size; at += map->key_size) {
		union bpf_attr attr = { 0 };
		int error;

		attr.map_fd = number;
		attr.key = pointer(keys.data + at);
		error = bpf(BPF_MAP_DELETE_ELEM, &attr);
		if (error < 0 && error != -ENOENT)
			return answer_failure(answer, -error, "delete an entry");
		deleted += error == 0;
	}
	answer_u32(answer, deleted);
	return 0;
}

/* (u32 map) → u32 key size, u32 value size, then keys and values, one pair after another */
int do_map_dump(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);
	const struct handle *map = handle_find(number, HANDLE_MAP);
	uint8_t *space;
	uint32_t seen = 0;
	int error = 0;

	if (!fields_done(fields) || !map || map->value_size > VALUE_LIMIT)
		return EBADMSG;
	space = calloc(1, (size_t)map->key_size * 2 + map->value_size);
	if (!space)
		return ENOMEM;
	uint8_t *key = space, *next = space + map->key_size, *value = next + map->key_size;

	answer_u32(answer, map->key_size);
	answer_u32(answer, map->value_size);
	/* The only writer waits for this answer, so the order of the keys does not change meanwhile. */
	while (seen < map->max_entries) {
		union bpf_attr attr = { 0 };

		attr.map_fd = number;
		attr.key = seen == 0 ? 0 : pointer(key);
		attr.next_key = pointer(next);
		error = bpf(BPF_MAP_GET_NEXT_KEY, &attr);
		if (error < 0)
			break;
		memcpy(key, next, map->key_size);
		seen++;
		attr = (union bpf_attr){ 0 };
		attr.map_fd = number;
		attr.key = pointer(key);
		attr.value = pointer(value);
		error = bpf(BPF_MAP_LOOKUP_ELEM, &attr);
		if (error == 0) {
			answer_bytes(answer, key, map->key_size);
			answer_bytes(answer, value, map->value_size);
		}
	}
	free(space);
	return error < 0 && error != -ENOENT ? answer_failure(answer, -error, "dump a map") : 0;
}

/* (u32 type, bytes instructions, text license, text name) → u32 handle; with an errno the verifier's log */
int do_program_load(struct fields *fields, struct answer *answer)
{
	uint32_t type = field_u32(fields);
	struct bytes instructions = field_bytes(fields);
	const char *license = field_text(fields);
	const char *name = field_text(fields);
	union bpf_attr attr = { 0 };
	uint8_t *aligned;
	char *log;
	int fd;

	if (!fields_done(fields) || instructions.size == 0 || instructions.size % sizeof(struct bpf_insn) != 0)
		return EBADMSG;
	log = calloc(1, LOG_SIZE);
	aligned = malloc(instructions.size);
	if (!log || !aligned) {
		free(log);
		free(aligned);
		return ENOMEM;
	}
	memcpy(aligned, instructions.data, instructions.size);
	attr.prog_type = type;
	attr.insns = pointer(aligned);
	attr.insn_cnt = instructions.size / (uint32_t)sizeof(struct bpf_insn);
	attr.license = pointer(license);
	copy_name(attr.prog_name, name);
	lift_memlock();
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0 && fd != -EPERM) {
		attr.log_buf = pointer(log);
		attr.log_size = LOG_SIZE;
		attr.log_level = 1;
		fd = bpf(BPF_PROG_LOAD, &attr);
	}
	if (fd < 0)
		answer_failure(answer, -fd, *log ? log : "load a program");
	free(log);
	free(aligned);
	return fd < 0 ? -fd : keep_object(fd, answer);
}

/* (u32 handle, text path) → nothing */
int do_object_pin(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);
	const char *path = field_text(fields);
	union bpf_attr attr = { .pathname = pointer(path), .bpf_fd = number };
	int error;

	if (!fields_done(fields) || (!handle_find(number, HANDLE_MAP) && !handle_find(number, HANDLE_PROGRAM)))
		return EBADMSG;
	error = bpf(BPF_OBJ_PIN, &attr);
	return error < 0 ? answer_failure(answer, -error, "pin") : 0;
}

/* (text path) → u32 handle */
int do_object_get(struct fields *fields, struct answer *answer)
{
	const char *path = field_text(fields);
	union bpf_attr attr = { .pathname = pointer(path) };
	int fd;

	if (!fields_done(fields))
		return EBADMSG;
	fd = bpf(BPF_OBJ_GET, &attr);
	return fd < 0 ? answer_failure(answer, -fd, "open a pinned object") : keep_object(fd, answer);
}

/*
 * (u32 handle) → of a map: u32 id, type, key size, value size, entries;
 * of a program: u32 id, 8 bytes tag, the ids of its maps
 */
int do_object_info(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);
	bool is_map = handle_find(number, HANDLE_MAP) != NULL;
	uint32_t maps[64] = { 0 };
	struct bpf_map_info map = { 0 };
	struct bpf_prog_info program = { .nr_map_ids = 64, .map_ids = pointer(maps) };
	union bpf_attr attr = { 0 };
	int error;

	if (!fields_done(fields) || (!is_map && !handle_find(number, HANDLE_PROGRAM)))
		return EBADMSG;
	attr.info.bpf_fd = number;
	attr.info.info_len = is_map ? sizeof(map) : sizeof(program);
	attr.info.info = is_map ? pointer(&map) : pointer(&program);
	error = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	if (error < 0)
		return answer_failure(answer, -error, "information about an object");
	if (is_map) {
		uint32_t facts[] = { map.id, map.type, map.key_size, map.value_size, map.max_entries };

		answer_bytes(answer, facts, sizeof(facts));
		return 0;
	}
	answer_u32(answer, program.id);
	answer_bytes(answer, program.tag, sizeof(program.tag));
	answer_bytes(answer, maps, sizeof(*maps) * (program.nr_map_ids < 64 ? program.nr_map_ids : 64));
	return 0;
}

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
