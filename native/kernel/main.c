/*
 * terway-kernel [network namespace of the node]
 * terway-kernel --lock
 *
 * Hands system calls of the node agent to the kernel: netlink messages, bpf(2), sysctls, each in the network namespace
 * that the request names. It knows no network: what to ask is decided by the agent (src/datapath). One request at a
 * time, in the order in which they arrive; it ends when its standard input does, which is when the agent ends.
 *
 * With --lock it takes the lock of the file that is its descriptor 3, and ends: 0 when it has it, 3 when somebody else does. The
 * lock belongs to the open file, so it stays with whoever opened it, and goes with that process.
 */
#include "operations.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* () → nothing; the answer shows that the helper runs. */
static int do_hello(struct fields *fields, struct answer *answer)
{
	(void)answer;
	return fields_done(fields) ? 0 : EBADMSG;
}

/* By operation number; src/datapath/kernel/frames.ts has the same list. */
static int (*const OPERATIONS[])(struct fields *, struct answer *) = {
	NULL,         do_netlink,    do_sysctl,     do_close,    do_map_create,   do_object_pin,
	do_object_get, do_map_lookup, do_map_update, do_map_delete, do_map_dump, do_program_load,
	do_object_info, do_mount_bpffs, do_netns_new,   do_hello,    do_watch,        do_tcx_query,
	do_tcx_attach, do_tcx_detach,
};

static int dispatch(const uint8_t *frame, size_t size, struct answer *answer)
{
	struct fields fields = { frame + FRAME_HEAD, frame + size, false };
	uint16_t operation;
	int error;

	memcpy(&operation, frame + 4, sizeof(operation));
	if (operation >= sizeof(OPERATIONS) / sizeof(*OPERATIONS) || !OPERATIONS[operation])
		return answer_failure(answer, ENOSYS, "unknown operation");
	error = OPERATIONS[operation](&fields, answer);
	return error == EBADMSG ? answer_failure(answer, EBADMSG, "malformed request") : error;
}

/* Reads the rest of a frame that is too long, to find the start of the next one. */
static bool skip(size_t size)
{
	uint8_t waste[4096];

	while (size > 0) {
		size_t part = size < sizeof(waste) ? size : sizeof(waste);

		if (!read_fully(STDIN_FILENO, waste, part))
			return false;
		size -= part;
	}
	return true;
}

static bool send_answer(uint32_t id, int error, const struct answer *answer)
{
	uint32_t head[3] = { (uint32_t)(answer->size + 8), id, (uint32_t)error };

	return write_fully(STDOUT_FILENO, head, sizeof(head)) && write_fully(STDOUT_FILENO, answer->data, answer->size);
}

static bool serve_one(uint8_t *frame, struct answer *answer)
{
	uint32_t size;
	uint32_t id = 0;
	int error;

	answer->size = 0;
	if (!read_fully(STDIN_FILENO, &size, sizeof(size)))
		return false;
	if (size < FRAME_HEAD || size > FRAME_LIMIT) {
		size_t head = size < sizeof(id) ? 0 : sizeof(id);

		if (!read_fully(STDIN_FILENO, &id, head) || !skip(size - head))
			return false;
		error = answer_failure(answer, EMSGSIZE, "size of a frame");
	} else {
		if (!read_fully(STDIN_FILENO, frame, size))
			return false;
		memcpy(&id, frame, sizeof(id));
		error = dispatch(frame, size, answer);
	}
	return send_answer(id, error, answer);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * Waits for a request and meanwhile passes on events, at intervals: whoever causes many of them must not keep the agent busy. The
 * kernel reports it when it had to drop some.
 */
static bool wait_for_request(struct answer *answer)
{
	enum { EVENTS_PAUSE_MS = 50 };
	static int64_t told_ms;

	for (;;) {
		int64_t pause = told_ms + EVENTS_PAUSE_MS - now_ms();
		struct pollfd ready[2] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = pause > 0 ? -1 : events_socket(), .events = POLLIN },
		};
		int error;

		if (poll(ready, 2, events_socket() >= 0 && pause > 0 ? (int)pause : -1) < 0 && errno != EINTR)
			return false;
		if (ready[1].revents) {
			error = events_read(answer);
			told_ms = now_ms();
			if ((error || answer->size > 0) && !send_answer(0, error, answer))
				return false;
		}
		if (ready[0].revents)
			return true;
	}
}

static int take_lock(void)
{
	enum { LOCKED_FILE = 3, HELD_BY_ANOTHER = 3 };

	if (flock(LOCKED_FILE, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return HELD_BY_ANOTHER;
	fprintf(stderr, "terway-kernel: lock: %s\n", strerror(errno));
	return 1;
}

int main(int argc, char **argv)
{
	uint8_t *frame = malloc(FRAME_LIMIT);
	struct answer answer = { 0 };

	if (argc > 1 && strcmp(argv[1], "--lock") == 0)
		return take_lock();
	int error = netns_init(argc > 1 ? argv[1] : NULL);

	if (error || !frame) {
		fprintf(stderr, "terway-kernel: network namespace of the node: %s\n", strerror(error));
		return 1;
	}
	/* A failed write shows that the agent is gone. Signals from the agent's terminal are for the agent alone. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	while (wait_for_request(&answer) && serve_one(frame, &answer))
		answer_trim(&answer);
	return 0;
}
