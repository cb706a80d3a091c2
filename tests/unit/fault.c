/* SPDX-License-Identifier: MIT */
#include "tests/unit/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t off);
ssize_t __real_write(int fd, const void *buf, size_t len);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_renameat(int a, const char *from, int b, const char *to);
int __real_ftruncate(int fd, off_t len);
int __real_fallocate(int fd, int mode, off_t off, off_t len);
int __real_unlinkat(int dirfd, const char *name, int flags);

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int __wrap_ftruncate(int fd, off_t len);
int __wrap_fallocate(int fd, int mode, off_t off, off_t len);
int __wrap_unlinkat(int dirfd, const char *name, int flags);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault armed;
static int count;
bool fault_no_flush;
const struct fault_watch *fault_watch;

void fault_arm(const struct fault *fault)
{
	pthread_mutex_lock(&lock);
	armed = *fault;
	count = 0;
	pthread_mutex_unlock(&lock);
}

void fault_disarm(void)
{
	fault_arm(&(struct fault){0});
}

int fault_count(void)
{
	int n;

	pthread_mutex_lock(&lock);
	n = count;
	pthread_mutex_unlock(&lock);
	return n;
}

/* What this call shall do. */
static struct fault due(unsigned call)
{
	struct fault f;
	int n;

	pthread_mutex_lock(&lock);
	f = armed;
	if (!(f.calls & call)) {
		f.kind = FAULT_NONE;
	} else {
		n = count++;
		if (f.kind != FAULT_SHORT && n != f.at && !(f.stays && n > f.at))
			f.kind = FAULT_NONE;
	}
	pthread_mutex_unlock(&lock);
	return f;
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	pause();
}

/* True: the call fails (errno is set); a process that shall die does not return. */
static bool strikes(unsigned call)
{
	struct fault f = due(call);

	if (f.kind == FAULT_KILL)
		die();
	if (f.kind != FAULT_FAIL)
		return false;
	errno = f.code;
	return true;
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	struct fault f = due(FAULT_PWRITE);
	size_t part = f.part < len ? f.part : len;

	if (f.kind == FAULT_SHORT)
		len = part ? part : len;
	if (f.kind == FAULT_NONE || f.kind == FAULT_SHORT) {
		if (fault_watch && fault_watch->pwrite)
			fault_watch->pwrite(fd, buf, len, off);
		return __real_pwrite(fd, buf, len, off);
	}
	if (part && __real_pwrite(fd, buf, part, off) < 0)
		perror("pwrite");
	if (f.kind == FAULT_KILL)
		die();
	errno = f.code;
	return -1;
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	struct fault f = due(FAULT_WRITE);
	size_t part = f.part < len ? f.part : len;

	if (f.kind == FAULT_NONE || f.kind == FAULT_SHORT)
		return __real_write(fd, buf, f.kind == FAULT_SHORT && part ? part : len);
	if (part && __real_write(fd, buf, part) < 0)
		perror("write");
	if (f.kind == FAULT_KILL)
		die();
	errno = f.code;
	return -1;
}

int __wrap_fdatasync(int fd)
{
	if (strikes(FAULT_FDATASYNC))
		return -1;
	if (fault_watch && fault_watch->flush) {
		errno = fault_watch->flush(fd);
		if (errno)
			return -1;
	}
	return fault_no_flush ? 0 : __real_fdatasync(fd);
}

int __wrap_fsync(int fd)
{
	if (strikes(FAULT_FSYNC))
		return -1;
	return fault_no_flush ? 0 : __real_fsync(fd);
}

int __wrap_renameat(int a, const char *from, int b, const char *to)
{
	return strikes(FAULT_RENAME) ? -1 : __real_renameat(a, from, b, to);
}

int __wrap_ftruncate(int fd, off_t len)
{
	if (strikes(FAULT_TRUNCATE))
		return -1;
	if (fault_watch && fault_watch->truncate)
		fault_watch->truncate(fd, len);
	return __real_ftruncate(fd, len);
}

int __wrap_fallocate(int fd, int mode, off_t off, off_t len)
{
	return strikes(FAULT_ALLOCATE) ? -1 : __real_fallocate(fd, mode, off, len);
}

int __wrap_unlinkat(int dirfd, const char *name, int flags)
{
	return strikes(FAULT_UNLINK) ? -1 : __real_unlinkat(dirfd, name, flags);
}
