/* What the commands of `frames` share. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A packet socket that gets every frame of the link. Ends the program when there is no such link. */
int open_link(const char *name);

/* One line of JSON. `vlan` is -1 for a frame without a tag. */
void print_frame(const uint8_t *frame, size_t size, int vlan);

/* Prints what arrives at a socket of open_link until standard input ends. */
int receive(int fd);

/* The same for what leaves by the link, as it is on the wire. */
int receive_sent(int fd);

/* The bytes that hexadecimal digits stand for. Returns how many. */
size_t parse_hex(const char *digits, uint8_t *into, size_t room);

int flood_udp(int argc, char **argv);
int flood_link(int argc, char **argv);
int sink(int argc, char **argv);
int strays(int argc, char **argv);
int call_plugin(int argc, char **argv);
int offload(int argc, char **argv);
int without_bpf(int argc, char **argv);
int forge(int argc, char **argv);
int kernel_trap(int argc, char **argv);
int tcx(int argc, char **argv);
