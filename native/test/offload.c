/*
 * frames offload LINK on|off   whether the link takes and gives VLAN tags beside the bytes of a frame, as ethtool's
 *                              rxvlan and txvlan; prints how it is afterwards
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"

static const uint32_t BOTH = ETH_FLAG_TXVLAN | ETH_FLAG_RXVLAN;

int offload(int argc, char **argv)
{
	struct ethtool_value flags = { .cmd = ETHTOOL_GFLAGS };
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (argc != 3)
		return 2;
	strncpy(request.ifr_name, argv[1], sizeof(request.ifr_name) - 1);
	request.ifr_data = (char *)&flags;
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) != 0) {
		perror(argv[1]);
		return 1;
	}
	flags.data = strcmp(argv[2], "on") == 0 ? flags.data | BOTH : flags.data & ~BOTH;
	flags.cmd = ETHTOOL_SFLAGS;
	if (ioctl(fd, SIOCETHTOOL, &request) != 0) {
		perror(argv[1]);
		return 1;
	}
	flags.cmd = ETHTOOL_GFLAGS;
	if (ioctl(fd, SIOCETHTOOL, &request) != 0) {
		perror(argv[1]);
		return 1;
	}
	printf("txvlan %s rxvlan %s\n", flags.data & ETH_FLAG_TXVLAN ? "on" : "off",
	       flags.data & ETH_FLAG_RXVLAN ? "on" : "off");
	close(fd);
	return 0;
}
