#define _GNU_SOURCE
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int node_netns = -1;

int netns_init(const char *path)
{
	node_netns = open(path ? path : "/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (node_netns < 0)
		return errno;
	return !path || setns(node_netns, CLONE_NEWNET) == 0 ? 0 : errno;
}

int netns_open(const char *path)
{
	struct statfs where;
	int fd;

	if (*path == '\0')
		return fcntl(node_netns, F_DUPFD_CLOEXEC, 3);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	/* The file that a bind mount covered: the namespace was unmounted. */
	if (fstatfs(fd, &where) != 0 || where.f_type != NSFS_MAGIC) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

int netns_enter(const char *path)
{
	int fd;
	int error = 0;

	if (*path == '\0')
		return 0;
	fd = netns_open(path);
	if (fd < 0)
		return -fd;
	if (setns(fd, CLONE_NEWNET) != 0)
		error = errno;
	close(fd);
	return error;
}

void netns_leave(void)
{
	if (setns(node_netns, CLONE_NEWNET) == 0)
		return;
	fprintf(stderr, "terway-kernel: cannot return to the node's network namespace: %s\n", strerror(errno));
	exit(1);
}

/* () → u32 handle, text path: an empty namespace that lives until the handle is closed. */
int do_netns_new(struct fields *fields, struct answer *answer)
{
	char path[64];
	int fd;

	if (!fields_done(fields))
		return EBADMSG;
	if (unshare(CLONE_NEWNET) != 0)
		return answer_failure(answer, errno, "unshare");
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	netns_leave();
	if (fd < 0 || !handle_keep(fd, (struct handle){ .kind = HANDLE_NETNS }))
		return answer_failure(answer, EMFILE, "open the new namespace");
	answer_u32(answer, (uint32_t)fd);
	answer_bytes(answer, path, (size_t)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd));
	return 0;
}

/* Below /proc/sys/net, and no way out of it. */
static bool sysctl_allowed(const char *name)
{
	return strncmp(name, "net/", 4) == 0 && !strstr(name, "/../") && strlen(name) < 200;
}

static int sysctl_exchange(const char *name, bool write, struct bytes wanted, struct answer *answer)
{
	char path[256];
	char old[256];
	ssize_t size;
	int error = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return errno;
	size = read(fd, old, sizeof(old));
	if (size < 0)
		error = errno;
	while (size > 0 && old[size - 1] == '\n')
		size--;
	if (!error && write && (wanted.size != (size_t)size || memcmp(old, wanted.data, wanted.size) != 0) &&
	    pwrite(fd, wanted.data, wanted.size, 0) != (ssize_t)wanted.size)
		error = errno ? errno : EIO;
	close(fd);
	if (!error)
		answer_bytes(answer, old, (size_t)size);
	return error;
}

/* (text namespace, text name, u32 write, bytes value) → the value before; written only when it differs. */
int do_sysctl(struct fields *fields, struct answer *answer)
{
	const char *netns = field_text(fields);
	const char *name = field_text(fields);
	bool write = field_u32(fields) != 0;
	struct bytes wanted = field_bytes(fields);
	int error;

	if (!fields_done(fields) || !sysctl_allowed(name))
		return EBADMSG;
	error = netns_enter(netns);
	if (error)
		return answer_failure(answer, error, "network namespace");
	errno = 0;
	/* The files below /proc/sys/net are those of the namespace of whoever opens them. */
	error = sysctl_exchange(name, write, wanted, answer);
	netns_leave();
	return error ? answer_failure(answer, error, "sysctl") : 0;
}

/* (text directory) → u32 1 when it was mounted now, 0 when it was there. */
int do_mount_bpffs(struct fields *fields, struct answer *answer)
{
	const char *directory = field_text(fields);
	struct statfs where;

	if (!fields_done(fields))
		return EBADMSG;
	if (statfs(directory, &where) != 0)
		return answer_failure(answer, errno, "directory of the bpf file system");
	if (where.f_type == BPF_FS_MAGIC) {
		answer_u32(answer, 0);
		return 0;
	}
	if (mount("bpf", directory, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME, "mode=0700") != 0)
		return answer_failure(answer, errno, "mount the bpf file system");
	answer_u32(answer, 1);
	return 0;
}
