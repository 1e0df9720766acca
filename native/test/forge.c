/*
 * frames forge PORT COUNT   sends the netlink socket with this port the end of an answer, for each of the requests 1 to COUNT, again
 *                           and again, as whoever has NET_ADMIN in a namespace can; `ready` first; ends with its standard input
 */
#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"

int forge(int argc, char **argv)
{
	struct {
		struct nlmsghdr head;
		int32_t error;
	} done = { .head = { .nlmsg_len = sizeof(done), .nlmsg_type = NLMSG_DONE, .nlmsg_flags = NLM_F_MULTI } };
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct pollfd end = { .fd = STDIN_FILENO, .events = POLLIN };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int count = argc == 3 ? atoi(argv[2]) : 0;

	if (argc != 3 || fd < 0)
		return 2;
	to.nl_pid = (uint32_t)atoi(argv[1]);
	puts("ready");
	fflush(stdout);
	while (poll(&end, 1, 0) == 0) {
		for (int number = 1; number <= count; number++) {
			done.head.nlmsg_seq = (uint32_t)number;
			/* Most find no socket, as one lives for a request. */
			sendto(fd, &done, sizeof(done), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
		}
	}
	return 0;
}
