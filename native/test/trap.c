/*
 * frames kernel-trap FOLDER RECORDS PROGRAM ...   stands between the agent and its kernel helper, and ends the agent without
 * warning at the request that the file FOLDER/arm names.
 *
 * The file is one line `NUMBER before|after ANYTHING`: before the request is passed on, or after it was done and before the
 * answer is. Another line counts from one again. FOLDER/count has a line for each request: `same` when the agent had the
 * answer of the one before and since then has changed nothing in the folder RECORDS, so that to be ended before this request
 * is to be ended after that one; else `other`. What this knows of the protocol is the head of a frame (kernel/frame.h).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frames.h"

struct trap {
	const char *folder;
	const char *records;
	pid_t helper;
	/* How many requests have no answer yet, and what the records were like when the last one came. */
	int unanswered;
	uint64_t seen;
	char armed[128];
	uint32_t requests;
	uint32_t at;
	bool after;
	/* Its answer ends the agent. */
	bool deadly;
	uint32_t deadly_id;
};

struct frame {
	uint8_t *bytes;
	size_t size;
};

static bool all(int fd, uint8_t *at, size_t size, bool out)
{
	while (size > 0) {
		ssize_t done = out ? write(fd, at, size) : read(fd, at, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		at += done;
		size -= (size_t)done;
	}
	return true;
}

static uint32_t number(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static bool read_frame(int fd, struct frame *frame)
{
	uint8_t head[4];

	if (!all(fd, head, sizeof(head), false))
		return false;
	frame->size = sizeof(head) + number(head);
	frame->bytes = realloc(frame->bytes, frame->size);
	if (frame->bytes == NULL)
		return false;
	memcpy(frame->bytes, head, sizeof(head));
	return all(fd, frame->bytes + sizeof(head), frame->size - sizeof(head), false);
}

static uint32_t id_of(const struct frame *frame)
{
	return number(frame->bytes + 4);
}

static void end_agent(const struct trap *trap)
{
	kill(getppid(), SIGKILL);
	kill(trap->helper, SIGKILL);
	exit(1);
}

/* Whether requests are counted. */
static bool look(struct trap *trap)
{
	char line[sizeof(trap->armed)] = "";
	char path[256];
	char when[8] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/arm", trap->folder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, line, sizeof(line) - 1) <= 0)
		line[0] = '\0';
	close(fd);
	if (strcmp(line, trap->armed) != 0 && sscanf(line, "%u %7s", &trap->at, when) == 2) {
		strcpy(trap->armed, line);
		trap->after = strcmp(when, "after") == 0;
		trap->requests = 0;
	}
	return line[0] != '\0';
}

/* Of names, versions and times of the files in the folder of records; FNV-1a, in whatever order. */
static uint64_t fingerprint(const char *folder)
{
	DIR *directory = opendir(folder);
	struct dirent *entry;
	uint64_t sum = 0;

	if (directory == NULL)
		return 0;
	while ((entry = readdir(directory)) != NULL) {
		uint64_t hash = 14695981039346656037u;
		struct stat about = { 0 };
		uint64_t facts[4];

		fstatat(dirfd(directory), entry->d_name, &about, AT_SYMLINK_NOFOLLOW);
		facts[0] = about.st_ino;
		facts[1] = (uint64_t)about.st_size;
		facts[2] = (uint64_t)about.st_mtim.tv_sec;
		facts[3] = (uint64_t)about.st_mtim.tv_nsec;
		for (const char *at = entry->d_name; *at != '\0'; at++)
			hash = (hash ^ (uint8_t)*at) * 1099511628211u;
		for (size_t at = 0; at < sizeof(facts) / sizeof(*facts); at++)
			hash = (hash ^ facts[at]) * 1099511628211u;
		sum += hash;
	}
	closedir(directory);
	return sum;
}

static void write_count(const struct trap *trap)
{
	bool same = trap->requests > 1 && trap->unanswered == 0 && fingerprint(trap->records) == trap->seen;
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/count", trap->folder);
	file = fopen(path, trap->requests == 1 ? "w" : "a");
	if (file == NULL)
		return;
	fprintf(file, "%s\n", same ? "same" : "other");
	fclose(file);
}

static void on_request(struct trap *trap, const struct frame *frame)
{
	if (!look(trap))
		return;
	trap->requests += 1;
	write_count(trap);
	if (trap->requests != trap->at)
		return;
	if (!trap->after)
		end_agent(trap);
	trap->deadly = true;
	trap->deadly_id = id_of(frame);
}

static int exit_code(pid_t helper)
{
	int status = 0;

	waitpid(helper, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Passes frames on until the helper has ended; the end of the requests is passed on as well. */
static int relay(struct trap *trap, int to_helper, int from_helper)
{
	struct pollfd ends[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = from_helper, .events = POLLIN } };
	struct frame frame = { 0 };

	for (;;) {
		if (poll(ends, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (ends[1].revents != 0) {
			if (!read_frame(from_helper, &frame))
				return exit_code(trap->helper);
			if (trap->deadly && id_of(&frame) == trap->deadly_id)
				end_agent(trap);
			trap->unanswered -= 1;
			trap->seen = fingerprint(trap->records);
			if (!all(STDOUT_FILENO, frame.bytes, frame.size, true))
				return 1;
		}
		if (ends[0].revents != 0) {
			if (read_frame(STDIN_FILENO, &frame)) {
				on_request(trap, &frame);
				trap->unanswered += 1;
				if (!all(to_helper, frame.bytes, frame.size, true))
					return exit_code(trap->helper);
			} else {
				close(to_helper);
				ends[0].fd = -1;
			}
		}
	}
}

int kernel_trap(int argc, char **argv)
{
	struct trap trap = { 0 };
	int requests[2];
	int answers[2];

	if (argc < 4)
		return 2;
	trap.folder = argv[1];
	trap.records = argv[2];
	if (pipe2(requests, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) {
		perror("pipe");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	trap.helper = fork();
	if (trap.helper == 0) {
		signal(SIGPIPE, SIG_DFL);
		dup2(requests[0], STDIN_FILENO);
		dup2(answers[1], STDOUT_FILENO);
		execv(argv[3], argv + 3);
		perror(argv[3]);
		_exit(1);
	}
	close(requests[0]);
	close(answers[1]);
	return relay(&trap, requests[1], answers[0]);
}
