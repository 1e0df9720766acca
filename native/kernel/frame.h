/*
 * Frames between the agent and this process, little endian:
 *   request  u32 size of the rest, u32 id, u16 operation, u16 0, fields
 *   answer   u32 size of the rest, u32 id, u32 errno (0: done), data; with an errno the data is a text
 * Answers with id 0 are events that nobody asked for: netlink messages, or errno ENOBUFS when some were lost.
 * Fields are u32, or bytes with their size as u32 before them. A text is bytes that end with the only NUL.
 */
#ifndef TERWAY_FRAME_H
#define TERWAY_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_LIMIT = 16 << 20, FRAME_HEAD = 8 };

/* Reads fields; after the first that does not fit, `bad` is set and every field is empty. */
struct fields {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

struct bytes {
	const uint8_t *data;
	uint32_t size;
};

uint32_t field_u32(struct fields *fields);
struct bytes field_bytes(struct fields *fields);
const char *field_text(struct fields *fields);
/* True when everything was read and nothing was malformed. */
bool fields_done(const struct fields *fields);

/* The answer under construction. */
struct answer {
	uint8_t *data;
	size_t size;
	size_t capacity;
};

void answer_bytes(struct answer *answer, const void *data, size_t size);
void answer_u32(struct answer *answer, uint32_t value);
/* Frees the memory of an unusually large answer. */
void answer_trim(struct answer *answer);
/* Replaces the answer by a text about the failure, and returns `error`. */
int answer_failure(struct answer *answer, int error, const char *what);

/* Reads exactly `size` bytes; false at the end of the stream. */
bool read_fully(int fd, void *data, size_t size);
bool write_fully(int fd, const void *data, size_t size);

#endif
