/*
 * frames strays LINK ADDRESS=ID,ID ...   prints the UDP packets that arrive at LINK, except those from an ADDRESS with one of its
 *                                        VLAN ids; `ready` first; ends with its standard input
 *
 * The filter runs in the kernel, so that no stray can be lost among millions of packets that are as they should be. Only IPv4
 * is looked at.
 */
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "frames.h"

#define ANCILLARY(offset) ((uint32_t)(SKF_AD_OFF + (offset)))
#define WHOLE_FRAME 0xffff

static struct sock_filter code[BPF_MAXINSNS];
static unsigned short length;

static void add(uint16_t operation, uint32_t operand, uint8_t if_true, uint8_t if_false)
{
	if (length >= BPF_MAXINSNS)
		exit(2);
	code[length++] = (struct sock_filter){ operation, if_true, if_false, operand };
}

/* From here on, only packets of other sources. */
static int add_source(char *text)
{
	struct in_addr address;
	char *ids = strchr(text, '=');
	unsigned short source;

	if (!ids)
		return -1;
	*ids++ = '\0';
	if (inet_pton(AF_INET, text, &address) != 1)
		return -1;
	add(BPF_LD | BPF_W | BPF_ABS, 26, 0, 0);
	source = length;
	add(BPF_JMP | BPF_JEQ | BPF_K, ntohl(address.s_addr), 0, 0);
	add(BPF_LD | BPF_W | BPF_ABS, ANCILLARY(SKF_AD_VLAN_TAG), 0, 0);
	add(BPF_ALU | BPF_AND | BPF_K, 0xfff, 0, 0);
	for (char *id = strtok(ids, ","); id; id = strtok(NULL, ",")) {
		add(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)atoi(id), 0, 1);
		add(BPF_RET | BPF_K, 0, 0, 0);
	}
	add(BPF_RET | BPF_K, WHOLE_FRAME, 0, 0);
	code[source].jf = (uint8_t)(length - source - 1);
	return 0;
}

int strays(int argc, char **argv)
{
	struct sock_fprog program = { 0, code };
	int fd;

	if (argc < 3)
		return 2;
	add(BPF_LD | BPF_H | BPF_ABS, 12, 0, 0);
	add(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 1, 0);
	add(BPF_RET | BPF_K, 0, 0, 0);
	add(BPF_LD | BPF_B | BPF_ABS, 23, 0, 0);
	add(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 1, 0);
	add(BPF_RET | BPF_K, 0, 0, 0);
	add(BPF_LD | BPF_W | BPF_ABS, ANCILLARY(SKF_AD_VLAN_TAG_PRESENT), 0, 0);
	add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
	add(BPF_RET | BPF_K, WHOLE_FRAME, 0, 0);
	for (int at = 2; at < argc; at++) {
		if (add_source(argv[at]) != 0)
			return 2;
	}
	add(BPF_RET | BPF_K, WHOLE_FRAME, 0, 0);
	program.len = length;
	fd = open_link(argv[1]);
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
		perror("filter");
		return 1;
	}
	return receive(fd);
}
