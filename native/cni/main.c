/*
 * terway: the CNI plugin. It hands the request of the container runtime to the node agent over a unix socket and prints
 * the agent's answer. Static and small, as it is started for every pod. It decides nothing, with two exceptions that must
 * work while no agent runs: VERSION, and the error that says so.
 *
 * Request:  the length of what follows, four bytes, the highest first; the CNI_* variables as NAME=VALUE, each ended by a
 *           NUL byte; one more NUL byte; standard input as it came. The connection stays open in both directions, so that
 *           the agent sees it when the runtime gives up.
 * Answer:   '0' or '1', the exit status; then what belongs on standard output.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/terway/cni.sock"
/* Longer than the agent waits for an assignment, shorter than the kubelet waits for a sandbox. */
#define ANSWER_TIMEOUT_SECONDS 180
/*
 * An agent that is being replaced is back within seconds. ADD waits for it: a sandbox that fails is made anew by the kubelet
 * after a pause that is longer. TERWAY_CNI_AGENT_WAIT_MS is for tests.
 */
#define AGENT_WAIT_MS 20000
#define RETRY_MS 100
/* A network configuration is some hundred bytes, with GC's list of attachments some hundred kilobytes. */
#define INPUT_LIMIT (16u << 20)

/* Error codes of the CNI specification 1.1. */
enum { CNI_BAD_ENVIRONMENT = 4, CNI_IO_FAILURE = 5, CNI_TRY_AGAIN = 11, CNI_NOT_AVAILABLE = 50 };

static const char *const VARIABLES[] = {
	"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH", "CNI_NETNS_OVERRIDE",
};

struct buffer {
	char *bytes;
	size_t length;
	size_t capacity;
};

static bool append(struct buffer *buffer, const void *bytes, size_t length)
{
	if (buffer->length + length + 1 > buffer->capacity) {
		size_t capacity = (buffer->length + length + 1) * 2;
		char *grown = realloc(buffer->bytes, capacity);
		if (grown == NULL)
			return false;
		buffer->bytes = grown;
		buffer->capacity = capacity;
	}
	memcpy(buffer->bytes + buffer->length, bytes, length);
	buffer->length += length;
	buffer->bytes[buffer->length] = '\0';
	return true;
}

/* Reads to the end. Returns 0, or an errno. */
static int read_all(int fd, struct buffer *into)
{
	char chunk[16384];
	for (;;) {
		ssize_t count = read(fd, chunk, sizeof chunk);
		if (count == 0)
			return 0;
		if (count < 0) {
			if (errno == EINTR)
				continue;
			return errno;
		}
		if (into->length + (size_t)count > INPUT_LIMIT)
			return EFBIG;
		if (!append(into, chunk, (size_t)count))
			return ENOMEM;
	}
}

static int write_all(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t count = write(fd, bytes, length);
		if (count < 0) {
			if (errno == EINTR)
				continue;
			return errno;
		}
		bytes += count;
		length -= (size_t)count;
	}
	return 0;
}

/*
 * The version that the configuration asks for, for error answers only: the agent parses the configuration. Falls back to
 * the newest version that we speak.
 */
static void find_version(const struct buffer *input, char *version, size_t size)
{
	snprintf(version, size, "1.1.0");
	const char *at = input->bytes == NULL ? NULL : strstr(input->bytes, "\"cniVersion\"");
	if (at == NULL)
		return;
	at += strlen("\"cniVersion\"");
	at += strspn(at, " \t\r\n");
	if (*at != ':')
		return;
	at++;
	at += strspn(at, " \t\r\n");
	if (*at != '"')
		return;
	at++;
	size_t length = strspn(at, "0123456789.");
	if (length == 0 || length >= size || at[length] != '"')
		return;
	memcpy(version, at, length);
	version[length] = '\0';
}

/* Prints an error in the specification's format; messages and details hold no character that JSON would escape. */
static int fail(const struct buffer *input, int code, const char *message, const char *details)
{
	char version[32];
	find_version(input, version, sizeof version);
	printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}\n", version, code, message, details);
	return 1;
}

static int connect_agent(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_SECONDS};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		int reason = errno;
		close(fd);
		errno = reason;
		return -1;
	}
	return fd;
}

/* Connects; while nobody listens, retries for up to `wait_ms`. */
static int await_agent(const char *path, long wait_ms)
{
	for (;; wait_ms -= RETRY_MS) {
		int fd = connect_agent(path);
		if (fd >= 0 || wait_ms <= 0 || (errno != ENOENT && errno != ECONNREFUSED))
			return fd;
		poll(NULL, 0, RETRY_MS);
	}
}

static long agent_wait(const char *command)
{
	const char *text = getenv("TERWAY_CNI_AGENT_WAIT_MS");
	if (strcmp(command, "ADD") != 0)
		return 0;
	return text == NULL ? AGENT_WAIT_MS : strtol(text, NULL, 10);
}

static bool build_request(struct buffer *request, const struct buffer *input)
{
	/* Filled in at the end. */
	bool ok = append(request, "\0\0\0", 4);
	for (size_t i = 0; i < sizeof VARIABLES / sizeof *VARIABLES; i++) {
		const char *value = getenv(VARIABLES[i]);
		if (value == NULL)
			continue;
		ok = ok && append(request, VARIABLES[i], strlen(VARIABLES[i])) && append(request, "=", 1) &&
		     append(request, value, strlen(value) + 1);
	}
	ok = ok && append(request, "", 1) && (input->length == 0 || append(request, input->bytes, input->length));
	if (!ok)
		return false;
	size_t length = request->length - 4;
	for (int i = 0; i < 4; i++)
		request->bytes[i] = (char)(length >> (8 * (3 - i)));
	return true;
}

int main(void)
{
	struct buffer input = {0}, request = {0}, answer = {0};
	/* If the agent ends while we write to it, that must be an error on standard output, not the end of this program. */
	signal(SIGPIPE, SIG_IGN);
	const char *command = getenv("CNI_COMMAND");
	const char *path = getenv("TERWAY_CNI_SOCKET");
	if (path == NULL || *path == '\0')
		path = DEFAULT_SOCKET;

	int error = read_all(STDIN_FILENO, &input);
	if (error != 0)
		return fail(&input, CNI_IO_FAILURE, "cannot read the network configuration from standard input", strerror(error));
	if (command == NULL || *command == '\0')
		return fail(&input, CNI_BAD_ENVIRONMENT, "CNI_COMMAND is not set", "it must be ADD, DEL, CHECK, STATUS, GC or VERSION");
	if (strcmp(command, "VERSION") == 0) {
		puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}");
		return 0;
	}

	int fd = await_agent(path, agent_wait(command));
	if (fd < 0) {
		int code = strcmp(command, "STATUS") == 0 ? CNI_NOT_AVAILABLE : CNI_TRY_AGAIN;
		return fail(&input, code, "the node agent terway-agent cannot be reached at its socket", strerror(errno));
	}
	if (!build_request(&request, &input))
		return fail(&input, CNI_IO_FAILURE, "out of memory", "");
	error = write_all(fd, request.bytes, request.length);
	if (error == 0)
		error = read_all(fd, &answer);
	close(fd);
	if (error == EAGAIN)
		return fail(&input, CNI_TRY_AGAIN, "the node agent terway-agent did not answer in time", "180 s");
	if (error != 0)
		return fail(&input, CNI_TRY_AGAIN, "the connection to the node agent terway-agent failed", strerror(error));
	if (answer.length == 0 || (answer.bytes[0] != '0' && answer.bytes[0] != '1'))
		return fail(&input, CNI_TRY_AGAIN, "the node agent terway-agent ended before it answered", "");
	if (write_all(STDOUT_FILENO, answer.bytes + 1, answer.length - 1) != 0)
		return 1;
	return answer.bytes[0] == '0' ? 0 : 1;
}
