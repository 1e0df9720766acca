/*
 * frames receive LINK     prints each frame as a line of JSON, and `ready` first; ends with its standard input
 * frames sent LINK        the same for each frame that leaves by the link, as it is on the wire
 * frames send LINK        sends the frames that it reads as lines `COUNT INTERVAL_MICROSECONDS HEX`
 * frames try LINK         the same, but a frame that a filter drops on the way out is not tried again
 * frames strays ...       prints the frames that should not be on a wire (strays.c)
 * frames flood-udp ...    sends as fast as it can, and says what that cost (flood.c); flood-link and sink likewise
 * frames offload ...      whether a link keeps VLAN tags beside the bytes (offload.c)
 * frames without-bpf ...  runs a program to which bpf(2) is refused (without_bpf.c)
 * frames kernel-trap ...  ends an agent at a certain request to the kernel (trap.c)
 * frames tcx ...          attaches a TCX program to a link (tcx.c)
 * frames forge ...        answers netlink requests in the kernel's place (forge.c)
 * frames call ...         runs a CNI plugin as a runtime does, with the time that it took (call.c)
 *
 * For tests and measurements: what is on a wire, with the VLAN tag that the kernel keeps beside the bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

int open_link(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int size = 64 << 20;
	int on = 1;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	address.sll_ifindex = (int)if_nametoindex(name);
	if (fd < 0 || address.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		perror(name);
		exit(1);
	}
	setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

static uint16_t word(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

void print_frame(const uint8_t *frame, size_t size, int vlan)
{
	char source[INET6_ADDRSTRLEN] = "";
	char destination[INET6_ADDRSTRLEN] = "";
	size_t payload = 14;
	uint16_t type;

	if (size < 14)
		return;
	type = word(frame + 12);
	if (type == ETH_P_IP && size >= 34) {
		inet_ntop(AF_INET, frame + 26, source, sizeof(source));
		inet_ntop(AF_INET, frame + 30, destination, sizeof(destination));
		payload = 14 + 20 + 8;
	} else if (type == ETH_P_IPV6 && size >= 54) {
		inet_ntop(AF_INET6, frame + 22, source, sizeof(source));
		inet_ntop(AF_INET6, frame + 38, destination, sizeof(destination));
		payload = 14 + 40 + 8;
	}
	printf("{\"vlan\":%d,\"type\":%u,\"size\":%zu,\"source\":\"%s\",\"destination\":\"%s\",\"protocol\":%d,\"payload\":\"",
	       vlan, type, size, source, destination,
	       type == ETH_P_IP && size >= 34 ? frame[23] : type == ETH_P_IPV6 && size >= 54 ? frame[20] : 0);
	for (size_t at = payload; at < size && at < payload + 16; at++)
		printf("%02x", frame[at]);
	printf("\",\"to\":\"");
	for (size_t at = 0; at < 6; at++)
		printf("%02x", frame[at]);
	printf("\"}\n");
}

static int print_all(int fd, bool outgoing)
{
	static uint8_t frame[1 << 17];
	struct pollfd waits[2] = { { .fd = fd, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };

	puts("ready");
	for (;;) {
		char control[256];
		struct sockaddr_ll from;
		struct iovec space = { frame, sizeof(frame) };
		struct msghdr message = { .msg_iov = &space, .msg_iovlen = 1, .msg_control = control,
					  .msg_controllen = sizeof(control), .msg_name = &from, .msg_namelen = sizeof(from) };
		ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT);
		int vlan = -1;

		if (size < 0) {
			char waste[64];

			fflush(stdout);
			poll(waits, 2, -1);
			if (!(waits[0].revents & POLLIN) && waits[1].revents && read(STDIN_FILENO, waste, sizeof(waste)) <= 0)
				return 0;
			continue;
		}
		if ((from.sll_pkttype == PACKET_OUTGOING) != outgoing)
			continue;
		for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
			struct tpacket_auxdata auxiliary;

			if (at->cmsg_level != SOL_PACKET || at->cmsg_type != PACKET_AUXDATA)
				continue;
			memcpy(&auxiliary, CMSG_DATA(at), sizeof(auxiliary));
			if (auxiliary.tp_status & TP_STATUS_VLAN_VALID)
				vlan = auxiliary.tp_vlan_tci & 0xfff;
		}
		print_frame(frame, (size_t)size, vlan);
	}
}

int receive(int fd)
{
	return print_all(fd, false);
}

int receive_sent(int fd)
{
	return print_all(fd, true);
}

size_t parse_hex(const char *digits, uint8_t *into, size_t room)
{
	size_t size = 0;

	for (; size < room && sscanf(digits, "%2hhx", &into[size]) == 1; digits += 2)
		size++;
	return size;
}

static int send_lines(int fd, bool insist)
{
	static char line[1 << 18];
	static uint8_t frame[1 << 17];

	while (fgets(line, sizeof(line), stdin)) {
		unsigned long count;
		unsigned long interval;
		size_t size;
		int at = 0;

		if (sscanf(line, "%lu %lu %n", &count, &interval, &at) != 2)
			return 2;
		size = parse_hex(line + at, frame, sizeof(frame));
		while (count-- > 0) {
			struct timespec pause = { 0, (long)interval * 1000 };

			while (send(fd, frame, size, 0) < 0) {
				if (errno != ENOBUFS) {
					perror("send");
					return 1;
				}
				if (!insist)
					break;
			}
			if (interval)
				nanosleep(&pause, NULL);
		}
	}
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} COMMANDS[] = {
	{ "strays", strays }, { "flood-udp", flood_udp }, { "flood-link", flood_link },
	{ "sink", sink },     { "call", call_plugin },    { "offload", offload },
	{ "without-bpf", without_bpf }, { "kernel-trap", kernel_trap }, { "forge", forge },
	{ "tcx", tcx },
};

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "receive") == 0)
		return receive(open_link(argv[2]));
	if (argc == 3 && strcmp(argv[1], "sent") == 0)
		return receive_sent(open_link(argv[2]));
	if (argc == 3 && strcmp(argv[1], "send") == 0)
		return send_lines(open_link(argv[2]), true);
	if (argc == 3 && strcmp(argv[1], "try") == 0)
		return send_lines(open_link(argv[2]), false);
	for (size_t at = 0; argc > 1 && at < sizeof(COMMANDS) / sizeof(*COMMANDS); at++) {
		if (strcmp(argv[1], COMMANDS[at].name) == 0)
			return COMMANDS[at].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "usage: frames receive|sent|send|try|strays|flood-udp|flood-link|sink|offload|without-bpf|kernel-trap|forge|tcx|call ...\n");
	return 2;
}
