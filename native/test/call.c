/*
 * frames call PLUGIN CONFIGURATION   for each line `COMMAND CONTAINERID NETNS IFNAME ARGS` of standard input, runs a CNI plugin as
 *                                    a container runtime does, and prints `MICROSECONDS CODE OUTPUT`
 *
 * The time is that from before the start of the plugin until it has ended.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

static const char *const VARIABLES[] = { "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS" };

static char output[1 << 20];

static void run_plugin(const char *plugin, char *line, int input, int answer)
{
	for (size_t at = 0; at < sizeof(VARIABLES) / sizeof(*VARIABLES); at++) {
		const char *value = strtok(at == 0 ? line : NULL, " \n");

		if (!value)
			_exit(126);
		setenv(VARIABLES[at], value, 1);
	}
	dup2(input, STDIN_FILENO);
	dup2(answer, STDOUT_FILENO);
	execl(plugin, plugin, (char *)NULL);
	_exit(127);
}

static int call(const char *plugin, const char *configuration, char *line)
{
	int in[2];
	int out[2];
	struct timespec began;
	struct timespec ended;
	size_t size = 0;
	ssize_t count;
	int status;
	pid_t child;

	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &began);
	child = fork();
	if (child == 0)
		run_plugin(plugin, line, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	if (child < 0 || write(in[1], configuration, strlen(configuration)) < 0)
		return -1;
	close(in[1]);
	while (size + 1 < sizeof(output) && (count = read(out[0], output + size, sizeof(output) - size - 1)) > 0)
		size += (size_t)count;
	close(out[0]);
	if (waitpid(child, &status, 0) != child)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &ended);
	output[size] = '\0';
	output[strcspn(output, "\n")] = '\0';
	printf("%ld %d %s\n", (ended.tv_sec - began.tv_sec) * 1000000 + (ended.tv_nsec - began.tv_nsec) / 1000,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 128, output);
	fflush(stdout);
	return 0;
}

int call_plugin(int argc, char **argv)
{
	static char line[1 << 12];

	if (argc != 3)
		return 2;
	while (fgets(line, sizeof(line), stdin)) {
		if (call(argv[1], argv[2], line) != 0) {
			perror(argv[1]);
			return 1;
		}
	}
	return 0;
}
