/*
 * frames flood-udp ADDRESS PORT SIZE COUNT   datagrams of SIZE bytes to an IPv4 address
 * frames flood-link LINK COUNT HEX           one frame again and again
 * frames sink PORT                           takes datagrams and lets them fall, and says `ready`; ends with its standard input
 *
 * On the devices of a machine without hardware, a packet is carried by the thread that sends it, through all namespaces up to
 * where it is received or dropped: the thread's CPU time is what the packets cost, whatever else the machine does meanwhile.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

/* Datagrams per system call. */
#define BATCH 64

/* The last of the CPUs that we may use, so that a migration is not what is measured. */
static void stay_on_one_cpu(void)
{
	cpu_set_t allowed;
	cpu_set_t one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int flood(int fd, void *packet, size_t size, unsigned long count)
{
	struct iovec bytes = { packet, size };
	struct mmsghdr messages[BATCH] = { 0 };
	uint64_t cpu;
	uint64_t wall;
	unsigned long sent = 0;

	for (int at = 0; at < BATCH; at++) {
		messages[at].msg_hdr.msg_iov = &bytes;
		messages[at].msg_hdr.msg_iovlen = 1;
	}
	stay_on_one_cpu();
	cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	wall = nanoseconds(CLOCK_MONOTONIC);
	while (sent < count) {
		unsigned long left = count - sent;
		int done = sendmmsg(fd, messages, left < BATCH ? (unsigned int)left : BATCH, 0);

		if (done < 0 && errno != ENOBUFS && errno != EINTR) {
			perror("sendmmsg");
			return 1;
		}
		if (done > 0)
			sent += (unsigned long)done;
	}
	printf("{\"sent\":%lu,\"cpuNs\":%llu,\"wallNs\":%llu}\n", sent,
	       (unsigned long long)(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu),
	       (unsigned long long)(nanoseconds(CLOCK_MONOTONIC) - wall));
	return 0;
}

int flood_udp(int argc, char **argv)
{
	static char payload[65536];
	struct sockaddr_in to = { .sin_family = AF_INET };
	size_t size;
	int fd;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	size = strtoul(argv[3], NULL, 10);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (size > sizeof(payload) || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		perror(argv[1]);
		return 1;
	}
	return flood(fd, payload, size, strtoul(argv[4], NULL, 10));
}

int flood_link(int argc, char **argv)
{
	static uint8_t frame[65536];

	if (argc != 4)
		return 2;
	return flood(open_link(argv[1]), frame, parse_hex(argv[3], frame, sizeof(frame)), strtoul(argv[2], NULL, 10));
}

int sink(int argc, char **argv)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	int size = 0;
	char waste[64];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (argc != 2)
		return 2;
	here.sin_port = htons((uint16_t)atoi(argv[1]));
	/* Full at once, so that each datagram costs the same. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) != 0) {
		perror(argv[1]);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, waste, sizeof(waste)) > 0)
		;
	return 0;
}
