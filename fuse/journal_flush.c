/* SPDX-License-Identifier: MIT */
#include "fuse/journal_flush.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "util/io.h"

struct flusher {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake, flushed;
	struct journal_file *file;
	int dirfd; /* the journal's, where the file's name is to be flushed as well; -1 */
	uint64_t requested, written, durable;
	int failed; /* -errno that stands */
	bool stop;
	int event_fd;
};

static void tell(struct flusher *f)
{
	/* Full (2^64 - 2 events unread) is the only way that this fails. */
	(void)!eventfd_write(f->event_fd, 1);
	pthread_cond_broadcast(&f->flushed);
}

static int flush(const struct journal_file *file, int dirfd)
{
	if (fdatasync(journal_file_fd(file)) < 0)
		return -errno;
	return dirfd < 0 ? 0 : io_sync_dir(dirfd, ".");
}

static void *flush_main(void *data)
{
	struct flusher *f = data;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		struct journal_file *file;
		uint64_t upto;
		int dirfd, r;

		if (f->failed || f->requested <= f->durable) {
			pthread_cond_wait(&f->wake, &f->lock);
			continue;
		}
		file = journal_file_ref(f->file);
		upto = f->written;
		dirfd = f->dirfd;
		pthread_mutex_unlock(&f->lock);
		r = flush(file, dirfd);
		pthread_mutex_lock(&f->lock);
		if (file == f->file && r < 0) {
			f->failed = r;
		} else if (file == f->file) {
			f->durable = MAX(f->durable, upto);
			f->dirfd = -1;
		}
		tell(f);
		/* The last reference may free blocks, which takes time. */
		pthread_mutex_unlock(&f->lock);
		journal_file_unref(file);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* The loop takes its signals by signalfd: a thread with them open would swallow them. */
static int start_thread(struct flusher *f)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	sigfillset(&all);
	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	r = pthread_attr_setstacksize(&attr, 256u << 10);
	if (r == 0)
		r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r == 0) {
		r = pthread_create(&f->thread, &attr, flush_main, f);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return -r;
}

int flusher_new(struct journal_file *file, uint64_t durable, struct flusher **out)
{
	_cleanup_free_ struct flusher *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->durable = f->written = durable;
	f->dirfd = -1;
	f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->event_fd < 0)
		return -errno;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	pthread_cond_init(&f->flushed, NULL);
	f->file = journal_file_ref(file);
	r = start_thread(f);
	if (r < 0) {
		journal_file_unref(f->file);
		close(f->event_fd);
		return r;
	}
	*out = TAKE_PTR(f);
	return 0;
}

void flusher_free(struct flusher *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_signal(&f->wake);
	pthread_cond_broadcast(&f->flushed);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	journal_file_unref(f->file);
	close(f->event_fd);
	free(f);
}

int flusher_event_fd(const struct flusher *f)
{
	return f->event_fd;
}

int flusher_request(struct flusher *f, uint64_t seq, uint64_t written)
{
	int r;

	assert(seq <= written);
	pthread_mutex_lock(&f->lock);
	r = f->failed;
	if (r == 0) {
		f->written = written;
		f->requested = MAX(f->requested, seq);
		if (seq <= f->durable)
			tell(f);
		else
			pthread_cond_signal(&f->wake);
	}
	pthread_mutex_unlock(&f->lock);
	return r;
}

int flusher_result(struct flusher *f, uint64_t *durable)
{
	eventfd_t n;
	int r;

	(void)!eventfd_read(f->event_fd, &n);
	pthread_mutex_lock(&f->lock);
	r = f->failed;
	if (r == 0)
		*durable = f->durable;
	pthread_mutex_unlock(&f->lock);
	return r;
}

uint64_t flusher_durable(struct flusher *f)
{
	uint64_t durable;

	pthread_mutex_lock(&f->lock);
	durable = f->durable;
	pthread_mutex_unlock(&f->lock);
	return durable;
}

int flusher_wait(struct flusher *f, uint64_t seq)
{
	int r;

	pthread_mutex_lock(&f->lock);
	assert(seq <= f->requested);
	while (!f->failed && !f->stop && f->durable < seq)
		pthread_cond_wait(&f->flushed, &f->lock);
	r = f->failed ? f->failed : f->durable < seq ? -ECANCELED : 0;
	pthread_mutex_unlock(&f->lock);
	return r;
}

/* Called and left with the lock held; the caller drops what is returned. */
static struct journal_file *take_file(struct flusher *f, struct journal_file *file, int dirfd)
{
	struct journal_file *old = f->file;

	f->file = journal_file_ref(file);
	f->dirfd = dirfd;
	f->failed = 0;
	return old;
}

void flusher_replace(struct flusher *f, struct journal_file *file, uint64_t durable)
{
	struct journal_file *old;

	pthread_mutex_lock(&f->lock);
	old = take_file(f, file, -1);
	f->written = f->durable = durable;
	tell(f);
	pthread_mutex_unlock(&f->lock);
	journal_file_unref(old);
}

void flusher_replace_named(
	struct flusher *f, struct journal_file *file, uint64_t written, int dirfd)
{
	struct journal_file *old;

	pthread_mutex_lock(&f->lock);
	old = take_file(f, file, dirfd);
	f->written = f->requested = written;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	journal_file_unref(old);
}

void flusher_fail(struct flusher *f, int code)
{
	pthread_mutex_lock(&f->lock);
	f->failed = code;
	tell(f);
	pthread_mutex_unlock(&f->lock);
}
