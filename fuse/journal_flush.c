/* SPDX-License-Identifier: MIT */
#include "fuse/journal_flush.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

struct flusher {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake;
	struct journal_file *file;
	uint64_t requested, written, durable;
	int failed; /* -errno that stands */
	bool stop;
	int event_fd;
};

static void tell(struct flusher *f)
{
	/* Full (2^64 - 2 events unread) is the only way that this fails. */
	(void)!eventfd_write(f->event_fd, 1);
}

static void *flush_main(void *data)
{
	struct flusher *f = data;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		struct journal_file *file;
		uint64_t upto;
		int r;

		if (f->failed || f->requested <= f->durable) {
			pthread_cond_wait(&f->wake, &f->lock);
			continue;
		}
		file = journal_file_ref(f->file);
		upto = f->written;
		pthread_mutex_unlock(&f->lock);
		r = fdatasync(journal_file_fd(file)) < 0 ? -errno : 0;
		pthread_mutex_lock(&f->lock);
		if (file == f->file) {
			if (r < 0)
				f->failed = r;
			else
				f->durable = MAX(f->durable, upto);
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
	f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->event_fd < 0)
		return -errno;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
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

void flusher_replace(struct flusher *f, struct journal_file *file, uint64_t durable)
{
	struct journal_file *old;

	pthread_mutex_lock(&f->lock);
	old = f->file;
	f->file = journal_file_ref(file);
	f->written = f->durable = durable;
	f->failed = 0;
	tell(f);
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
