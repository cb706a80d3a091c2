/* SPDX-License-Identifier: MIT */
/* Small compile-time helpers that every folder uses. */
#pragma once

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check __attribute__((warn_unused_result))
#define format_like(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Released when the variable goes out of scope. A function named NAMEp, which takes a
 * pointer to the variable, does it; DEFINE_CLEANUP makes one from a free function that
 * accepts NULL. */
#define _cleanup_(f) __attribute__((cleanup(f), unused))
#define DEFINE_CLEANUP(type, func)                                                       \
	static inline void func##p(type *p)                                              \
	{                                                                                \
		if (*p)                                                                  \
			func(*p);                                                        \
	}                                                                                \
	struct cleanup_needs_a_semicolon

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

/* Takes the value out of a variable whose cleanup must then do nothing. */
#define TAKE_PTR(p)                                                                      \
	({                                                                               \
		__typeof__(p) _taken = (p);                                              \
		(p) = NULL;                                                              \
		_taken;                                                                  \
	})
#define TAKE_FD(fd)                                                                      \
	({                                                                               \
		int _taken = (fd);                                                       \
		(fd) = -1;                                                               \
		_taken;                                                                  \
	})
