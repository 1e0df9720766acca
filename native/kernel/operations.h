/* The operations. Each function reads its fields, writes the answer and returns 0 or an errno. */
#ifndef TERWAY_OPERATIONS_H
#define TERWAY_OPERATIONS_H

#include "frame.h"

/* Descriptors that the agent may refer to; a handle is the descriptor's number. */
enum handle_kind { HANDLE_NONE, HANDLE_MAP, HANDLE_PROGRAM, HANDLE_NETNS };

struct handle {
	enum handle_kind kind;
	/* For a map: the sizes that the kernel reads and writes. */
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
};

/* Takes ownership of `fd`. False, and the descriptor is closed, when there are too many. */
bool handle_keep(int fd, struct handle handle);
/* NULL when the agent has no such handle. */
const struct handle *handle_find(uint32_t number, enum handle_kind kind);

/* Remembers the namespace of the node: `path`, or the process's own when it is NULL. Returns 0 or an errno. */
int netns_init(const char *path);
/* Opens a namespace; the empty path is the node's. Returns a descriptor, or -errno; ENOENT when it is gone. */
int netns_open(const char *path);
/* Enters a namespace until netns_leave(); does nothing for the empty path. Returns 0 or an errno. */
int netns_enter(const char *path);
/* Returns to the node's namespace. A process that cannot would work on the wrong one: it exits. */
void netns_leave(void);

/* The socket on which events arrive; -1 when there is none. */
int events_socket(void);
/* Reads the events that have come. Returns 0, or ENOBUFS when some were lost. */
int events_read(struct answer *answer);

int do_close(struct fields *fields, struct answer *answer);
int do_watch(struct fields *fields, struct answer *answer);
int do_netns_new(struct fields *fields, struct answer *answer);
int do_netlink(struct fields *fields, struct answer *answer);
int do_sysctl(struct fields *fields, struct answer *answer);
int do_mount_bpffs(struct fields *fields, struct answer *answer);
int do_map_create(struct fields *fields, struct answer *answer);
int do_map_lookup(struct fields *fields, struct answer *answer);
int do_map_update(struct fields *fields, struct answer *answer);
int do_map_delete(struct fields *fields, struct answer *answer);
int do_map_dump(struct fields *fields, struct answer *answer);
int do_program_load(struct fields *fields, struct answer *answer);
int do_object_pin(struct fields *fields, struct answer *answer);
int do_object_get(struct fields *fields, struct answer *answer);
int do_object_info(struct fields *fields, struct answer *answer);
int do_tcx_query(struct fields *fields, struct answer *answer);
int do_tcx_attach(struct fields *fields, struct answer *answer);
int do_tcx_detach(struct fields *fields, struct answer *answer);

#endif
