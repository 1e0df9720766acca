#define _GNU_SOURCE
#include "operations.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* Larger than any datagram of a dump. */
enum { DATAGRAM = 256 << 10, ATTRIBUTE_HEAD = 4 };

static uint8_t datagram[DATAGRAM];

/* Kept, as most requests are for the node. A socket stays in the namespace in which it was made. */
static int node_socket = -1;

static int open_socket(void)
{
	static const int OPTIONS[] = { NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK };
	struct timeval patience = { .tv_sec = 30 };
	int on = 1;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	/* Without these options, on older kernels, answers only have less detail. */
	for (size_t at = 0; at < sizeof(OPTIONS) / sizeof(*OPTIONS); at++)
		setsockopt(fd, SOL_NETLINK, OPTIONS[at], &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static int socket_in(const char *netns)
{
	int error;
	int fd;

	if (*netns == '\0') {
		if (node_socket < 0)
			node_socket = open_socket();
		return node_socket;
	}
	error = netns_enter(netns);
	if (error)
		return -error;
	fd = open_socket();
	netns_leave();
	return fd;
}

/* Copies the messages that answer `sequence`; true when the last one was among them. */
static bool take_messages(size_t size, uint32_t sequence, struct answer *answer)
{
	size_t at = 0;

	while (size - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;

		memcpy(&head, datagram + at, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > size - at)
			break;
		if (head.nlmsg_seq == sequence) {
			answer_bytes(answer, datagram + at, head.nlmsg_len);
			if (head.nlmsg_type == NLMSG_ERROR || head.nlmsg_type == NLMSG_DONE)
				return true;
			/* Messages in the answer are aligned as they are in a datagram. */
			answer_bytes(answer, "\0\0\0", NLMSG_ALIGN(head.nlmsg_len) - head.nlmsg_len);
		}
		if (NLMSG_ALIGN(head.nlmsg_len) > size - at)
			break;
		at += NLMSG_ALIGN(head.nlmsg_len);
	}
	return false;
}

static int exchange(int fd, const uint8_t *message, size_t size, size_t limit, struct answer *answer)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	uint32_t sequence = ((const struct nlmsghdr *)message)->nlmsg_seq;

	if (sendto(fd, message, size, 0, (struct sockaddr *)&kernel, sizeof(kernel)) != (ssize_t)size)
		return errno;
	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t from_size = sizeof(from);
		ssize_t got = recvfrom(fd, datagram, sizeof(datagram), MSG_TRUNC, (struct sockaddr *)&from, &from_size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? ETIMEDOUT : errno;
		/* Whoever has NET_ADMIN in the namespace can send to this socket, too. */
		if (from_size != sizeof(from) || from.nl_pid != 0)
			continue;
		if ((size_t)got > sizeof(datagram))
			return EMSGSIZE;
		if (take_messages((size_t)got, sequence, answer))
			return answer->size > limit ? EOVERFLOW : 0;
		if (answer->size > limit)
			return EOVERFLOW;
	}
}

/* Tells of changes in the node's namespace; -1 when nobody asked. */
static int event_socket = -1;

int events_socket(void)
{
	return event_socket;
}

static uint32_t node_port(void)
{
	struct sockaddr_nl own = { 0 };
	socklen_t size = sizeof(own);

	return node_socket >= 0 && getsockname(node_socket, (struct sockaddr *)&own, &size) == 0 ? own.nl_pid : 0;
}

/* Leaves out what this process itself caused. */
static void take_events(size_t size, uint32_t own_port, struct answer *answer)
{
	size_t at = 0;

	while (size - at >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;

		memcpy(&head, datagram + at, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > size - at)
			break;
		if (head.nlmsg_pid == 0 || head.nlmsg_pid != own_port) {
			answer_bytes(answer, datagram + at, head.nlmsg_len);
			answer_bytes(answer, "\0\0\0", NLMSG_ALIGN(head.nlmsg_len) - head.nlmsg_len);
		}
		if (NLMSG_ALIGN(head.nlmsg_len) > size - at)
			break;
		at += NLMSG_ALIGN(head.nlmsg_len);
	}
}

/* Reads the pending events. ENOBUFS: there were too many, and some are lost. */
int events_read(struct answer *answer)
{
	enum { EVENTS_LIMIT = 128 << 10 };
	uint32_t own_port = node_port();
	int error = 0;

	answer->size = 0;
	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t from_size = sizeof(from);
		ssize_t got = recvfrom(event_socket, datagram, sizeof(datagram), MSG_DONTWAIT | MSG_TRUNC,
				       (struct sockaddr *)&from, &from_size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == ENOBUFS) {
			error = ENOBUFS;
			continue;
		}
		if (got < 0)
			break;
		if (from.nl_pid != 0 || error)
			continue;
		if ((size_t)got > sizeof(datagram) || answer->size > EVENTS_LIMIT)
			error = ENOBUFS;
		else
			take_events((size_t)got, own_port, answer);
	}
	if (error)
		answer->size = 0;
	return error;
}

/* (bytes of u32 multicast groups) → nothing; from now on there are events, which are answers to request 0 */
int do_watch(struct fields *fields, struct answer *answer)
{
	struct bytes groups = field_bytes(fields);
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };

	if (!fields_done(fields) || groups.size % sizeof(uint32_t) != 0)
		return EBADMSG;
	if (event_socket >= 0)
		close(event_socket);
	event_socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (event_socket < 0)
		return answer_failure(answer, errno, "socket for events");
	/* A socket that has no port number yet is passed over. */
	if (bind(event_socket, (struct sockaddr *)&any, sizeof(any)) != 0)
		return answer_failure(answer, errno, "bind the socket for events");
	for (size_t at = 0; at < groups.size; at += sizeof(uint32_t)) {
		uint32_t group;

		memcpy(&group, groups.data + at, sizeof(group));
		if (setsockopt(event_socket, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) != 0) {
			int error = errno;

			close(event_socket);
			event_socket = -1;
			return answer_failure(answer, error, "group of events");
		}
	}
	return 0;
}

/* Writes the descriptor of the namespace `path` into the attribute whose value is at `offset`. */
static int patch_netns(uint8_t *message, size_t size, uint32_t offset, const char *path)
{
	int fd;

	if (offset < sizeof(struct nlmsghdr) + ATTRIBUTE_HEAD || offset % 4 != 0 || offset > size - sizeof(fd))
		return -EBADMSG;
	fd = netns_open(path);
	if (fd >= 0)
		memcpy(message + offset, &fd, sizeof(fd));
	return fd;
}

/*
 * (text namespace, u32 dump, u32 limit, bytes message, u32 offset, text other namespace) → the kernel's messages.
 * With an offset, the descriptor of the other namespace is written there. An answer of more bytes than the limit is EOVERFLOW with
 * the limit as u32: whoever has rights in a namespace can put millions of objects there.
 */
int do_netlink(struct fields *fields, struct answer *answer)
{
	static uint8_t message[FRAME_LIMIT] __attribute__((aligned(8)));
	const char *netns = field_text(fields);
	bool dump = field_u32(fields) != 0;
	uint32_t limit = field_u32(fields);
	struct bytes request = field_bytes(fields);
	uint32_t offset = field_u32(fields);
	const char *other = field_text(fields);
	struct nlmsghdr *head = (struct nlmsghdr *)message;
	int other_fd = -1;
	int error;
	int fd;

	if (!fields_done(fields) || request.size < sizeof(*head))
		return EBADMSG;
	memcpy(message, request.data, request.size);
	if (head->nlmsg_len != request.size)
		return EBADMSG;
	if (!dump)
		head->nlmsg_flags |= NLM_F_ACK;
	head->nlmsg_flags |= NLM_F_REQUEST;
	if (offset) {
		other_fd = patch_netns(message, request.size, offset, other);
		if (other_fd < 0)
			return other_fd == -EBADMSG ? EBADMSG : answer_failure(answer, -other_fd, "other network namespace");
	}
	fd = socket_in(netns);
	if (fd < 0) {
		error = answer_failure(answer, -fd, "network namespace");
	} else {
		error = exchange(fd, message, request.size, limit, answer);
		if (error == EOVERFLOW) {
			answer->size = 0;
			answer_u32(answer, limit);
		} else if (error)
			answer_failure(answer, error, "netlink");
		/* The rest of an unfinished exchange must not be taken for the answer to a later request. */
		if (fd != node_socket || error) {
			close(fd);
			if (fd == node_socket)
				node_socket = -1;
		}
	}
	if (other_fd >= 0)
		close(other_fd);
	return error;
}
