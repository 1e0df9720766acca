#define _GNU_SOURCE
#include "bpf_call.h"
#include "operations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LOG_SIZE = 1 << 18, VALUE_LIMIT = 1 << 20 };

static bool per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/* At least the number of values that the kernel copies for an entry of a per-CPU map. */
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

/* Registers the descriptor of a map or program, with the kernel's information about it, and answers its handle. */
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
