/* SPDX-License-Identifier: MIT */
#include "daemon/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/textfile.h"
#include "fuse/worker.h"

/* One file. The thread reads all but `next` and `later` while its job runs. */
struct item {
	struct worker_job job;
	struct keeper *keeper;
	struct item *next;
	int dirfd, result;
	mode_t mode;
	char *key, *name, *text;
	char *later; /* put meanwhile; NULL */
};

struct keeper {
	const struct log_sink *log;
	struct worker *worker;
	sd_event_source *source;
	struct item *items;
};

static void item_free(struct item *i)
{
	if (!i)
		return;
	closep(&i->dirfd);
	free(i->key);
	free(i->name);
	free(i->text);
	free(i->later);
	free(i);
}
DEFINE_CLEANUP(struct item *, item_free);

static struct item *find(const struct keeper *k, const char *key)
{
	struct item *i = k->items;

	while (i && strcmp(i->key, key) != 0)
		i = i->next;
	return i;
}

static void remove_item(struct item *i)
{
	struct item **at = &i->keeper->items;

	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	item_free(i);
}

/* --- writing --- */

static void run(struct worker_job *job)
{
	struct item *i = container_of(job, struct item, job);

	i->result = textfile_keep(i->dirfd, i->name, i->mode, i->text);
}

static void on_done(struct worker_job *job)
{
	struct item *i = container_of(job, struct item, job);

	if (job->dropped) /* the end: nobody else waits for us any more */
		run(job);
	if (i->result < 0)
		log_to(i->keeper->log, LOG_WARNING, "%s: cannot keep '%s': %s", i->key, i->name,
			strerror(-i->result));
	if (!i->later) {
		remove_item(i);
		return;
	}
	free(i->text);
	i->text = TAKE_PTR(i->later);
	worker_submit(i->keeper->worker, job, false);
}

static int on_event(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct keeper *k = data;

	(void)s;
	(void)fd;
	(void)events;
	worker_dispatch(k->worker);
	return 0;
}

/* --- its life --- */

static bool never_idle(void *ctx)
{
	(void)ctx;
	return false;
}

int keeper_new(sd_event *event, const struct log_sink *log, struct keeper **out)
{
	static const struct worker_hooks hooks = {.wants_idle = never_idle};
	_cleanup_(keeper_freep) struct keeper *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	k->log = log;
	r = worker_new(&hooks, &k->worker);
	if (r >= 0)
		r = sd_event_add_io(event, &k->source, worker_event_fd(k->worker), EPOLLIN,
			on_event, k);
	if (r < 0)
		return r;
	*out = TAKE_PTR(k);
	return 0;
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	worker_free(k->worker);
	sd_event_source_disable_unref(k->source);
	free(k);
}

int keeper_put(struct keeper *k, const char *key, int dirfd, const char *name, mode_t mode,
	const char *text)
{
	_cleanup_(item_freep) struct item *i = calloc(1, sizeof(*i));
	struct item *there = find(k, key);

	if (!i) {
		close(dirfd);
		return -ENOMEM;
	}
	*i = (struct item){.job = {.run = run, .done = on_done}, .keeper = k, .dirfd = dirfd,
		.mode = mode, .key = strdup(key), .name = strdup(name), .text = strdup(text)};
	if (!i->key || !i->name || !i->text)
		return -ENOMEM;
	if (there) {
		free(there->later);
		there->later = TAKE_PTR(i->text);
		return 0;
	}
	i->next = k->items;
	k->items = i;
	worker_submit(k->worker, &TAKE_PTR(i)->job, false);
	return 0;
}

const char *keeper_get(const struct keeper *k, const char *key)
{
	const struct item *i = find(k, key);

	return i ? i->later ? i->later : i->text : NULL;
}
