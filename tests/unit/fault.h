/* SPDX-License-Identifier: MIT */
/* Faults of the disk, for tests: the n-th call that changes a file fails, does a part of its
 * work, or is the last one that the process makes. Linked in by -Wl,--wrap=...; the shipped
 * code knows nothing of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum fault_call {
	FAULT_PWRITE = 1,
	FAULT_WRITE = 2,
	FAULT_FDATASYNC = 4,
	FAULT_FSYNC = 8,
	FAULT_RENAME = 16,
	FAULT_TRUNCATE = 32,
	FAULT_ALLOCATE = 64,
	FAULT_UNLINK = 128,
	FAULT_ANY = 255,
};

enum fault_kind {
	FAULT_NONE,
	FAULT_FAIL,  /* -1, with `code` in errno; a write does `part` bytes first, then fails */
	FAULT_KILL,  /* a write does `part` bytes; then SIGKILL */
	FAULT_SHORT, /* every write does at most `part` bytes; nothing fails */
};

struct fault {
	enum fault_kind kind;
	unsigned calls; /* of enum fault_call: which are counted */
	int at;		/* 0: the first one */
	bool stays;	/* all later ones fail too */
	int code;
	size_t part;
};

void fault_arm(const struct fault *fault);
void fault_disarm(void);
int fault_count(void); /* counted calls since fault_arm */

/* Flushes return at once: tests that open thousands of files do not prove the disk. */
extern bool fault_no_flush;

/* When set, told of every write and truncation before it happens and of every flush. */
struct fault_watch {
	void (*pwrite)(int fd, const void *buf, size_t len, off_t off);
	void (*truncate)(int fd, off_t len);
	int (*flush)(int fd); /* 0, or an errno to fail with */
};
extern const struct fault_watch *fault_watch;
