/* SPDX-License-Identifier: MIT */
#include "daemon/registry.h"

#include <errno.h>
#include <string.h>

struct registry {
	struct board *first;
	struct registry_hooks hooks;
};

int registry_new(struct registry **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	while (r->first)
		registry_remove(r, r->first);
	free(r);
}

void registry_listen(struct registry *r, const struct registry_hooks *hooks)
{
	r->hooks = *hooks;
}

struct board *registry_find(struct registry *r, const char *name)
{
	struct board *b = r->first;

	while (b && strcmp(b->name, name) != 0)
		b = b->next;
	return b;
}

struct board *registry_next(struct registry *r, struct board *after)
{
	return after ? after->next : r->first;
}

/* --- hooks: nobody may listen --- */

static void tell(struct registry *r, void (*hook)(void *ctx, struct board *b), struct board *b)
{
	if (hook)
		hook(r->hooks.ctx, b);
}

static void tell_partition(struct registry *r,
	void (*hook)(void *ctx, struct board *b, struct board_partition *p), struct board *b,
	struct board_partition *p)
{
	if (hook)
		hook(r->hooks.ctx, b, p);
}

/* --- boards --- */

int registry_add(struct registry *r, const struct board *values, struct board **out)
{
	struct board **end = &r->first, *b;
	unsigned i;

	if (registry_find(r, values->name))
		return -EEXIST;
	b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	*b = *values;
	b->next = NULL;
	while (*end)
		end = &(*end)->next;
	*end = b;
	tell(r, r->hooks.board_added, b);
	for (i = 0; i < b->n_partitions; i++)
		tell_partition(r, r->hooks.partition_added, b, &b->partitions[i]);
	*out = b;
	return 0;
}

void registry_remove(struct registry *r, struct board *b)
{
	struct board **at = &r->first;

	while (b->n_partitions)
		registry_remove_partition(r, b, b->partitions[b->n_partitions - 1].number);
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	tell(r, r->hooks.board_removed, b);
	free(b);
}

void registry_changed(struct registry *r, struct board *b)
{
	tell(r, r->hooks.board_changed, b);
}

/* --- partitions, in the order of their numbers --- */

struct board_partition *registry_partition(struct board *b, unsigned number)
{
	unsigned i;

	for (i = 0; i < b->n_partitions; i++)
		if (b->partitions[i].number == number)
			return &b->partitions[i];
	return NULL;
}

int registry_add_partition(
	struct registry *r, struct board *b, const struct board_partition *values)
{
	unsigned i = b->n_partitions;

	if (registry_partition(b, values->number))
		return -EEXIST;
	if (b->n_partitions == BOARD_PARTITIONS_MAX)
		return -ENOSPC;
	for (; i > 0 && b->partitions[i - 1].number > values->number; i--)
		b->partitions[i] = b->partitions[i - 1];
	b->partitions[i] = *values;
	b->n_partitions++;
	tell_partition(r, r->hooks.partition_added, b, &b->partitions[i]);
	return 0;
}

void registry_remove_partition(struct registry *r, struct board *b, unsigned number)
{
	struct board_partition *p = registry_partition(b, number), gone;
	unsigned after;

	if (!p)
		return;
	gone = *p;
	after = (unsigned)(&b->partitions[b->n_partitions] - (p + 1));
	memmove(p, p + 1, after * sizeof(*p));
	b->n_partitions--;
	tell_partition(r, r->hooks.partition_removed, b, &gone);
}

void registry_partition_changed(
	struct registry *r, struct board *b, struct board_partition *p)
{
	tell_partition(r, r->hooks.partition_changed, b, p);
}
