#include "frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t *take(struct fields *fields, size_t size)
{
	const uint8_t *at = fields->at;

	if (fields->bad || (size_t)(fields->end - at) < size) {
		fields->bad = true;
		return NULL;
	}
	fields->at += size;
	return at;
}

uint32_t field_u32(struct fields *fields)
{
	const uint8_t *at = take(fields, sizeof(uint32_t));
	uint32_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return value;
}

struct bytes field_bytes(struct fields *fields)
{
	uint32_t size = field_u32(fields);
	const uint8_t *at = take(fields, size);

	return at ? (struct bytes){ at, size } : (struct bytes){ (const uint8_t *)"", 0 };
}

const char *field_text(struct fields *fields)
{
	struct bytes text = field_bytes(fields);

	if (text.size == 0 || memchr(text.data, 0, text.size) != text.data + text.size - 1) {
		fields->bad = true;
		return "";
	}
	return (const char *)text.data;
}

bool fields_done(const struct fields *fields)
{
	return !fields->bad && fields->at == fields->end;
}

void answer_bytes(struct answer *answer, const void *data, size_t size)
{
	if (size == 0)
		return;
	if (answer->capacity - answer->size < size) {
		size_t capacity = (answer->size + size) * 2;
		uint8_t *grown = realloc(answer->data, capacity);

		if (!grown) {
			fprintf(stderr, "terway-kernel: out of memory\n");
			exit(1);
		}
		answer->data = grown;
		answer->capacity = capacity;
	}
	memcpy(answer->data + answer->size, data, size);
	answer->size += size;
}

void answer_trim(struct answer *answer)
{
	enum { KEPT = 1 << 20 };

	if (answer->capacity <= KEPT)
		return;
	free(answer->data);
	*answer = (struct answer){ 0 };
}

void answer_u32(struct answer *answer, uint32_t value)
{
	answer_bytes(answer, &value, sizeof(value));
}

int answer_failure(struct answer *answer, int error, const char *what)
{
	answer->size = 0;
	answer_bytes(answer, what, strlen(what));
	return error;
}

bool read_fully(int fd, void *data, size_t size)
{
	uint8_t *at = data;

	while (size > 0) {
		ssize_t got = read(fd, at, size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		size -= (size_t)got;
	}
	return true;
}

bool write_fully(int fd, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t put = write(fd, at, size);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += put;
		size -= (size_t)put;
	}
	return true;
}
