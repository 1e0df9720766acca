#include "operations.h"

#include <errno.h>
#include <unistd.h>

enum { HANDLES = 1024 };

static struct handle handles[HANDLES];

bool handle_keep(int fd, struct handle handle)
{
	if (fd < 0 || fd >= HANDLES) {
		close(fd);
		return false;
	}
	handles[fd] = handle;
	return true;
}

const struct handle *handle_find(uint32_t number, enum handle_kind kind)
{
	return number < HANDLES && handles[number].kind == kind ? &handles[number] : NULL;
}

static int handle_close(uint32_t number)
{
	if (number >= HANDLES || handles[number].kind == HANDLE_NONE)
		return EBADF;
	handles[number].kind = HANDLE_NONE;
	return close((int)number) == 0 ? 0 : errno;
}

/* (u32 handle) → nothing */
int do_close(struct fields *fields, struct answer *answer)
{
	uint32_t number = field_u32(fields);

	if (!fields_done(fields))
		return EBADMSG;
	(void)answer;
	return handle_close(number);
}
