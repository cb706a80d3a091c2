/* SPDX-License-Identifier: MIT */
#include "cli/transfer.h"

#include <errno.h>
#include <json-c/json.h>

#include "cli/confirm.h"
#include "cli/json.h"
#include "cli/operate.h"
#include "cli/remote.h"
#include "cli/ui.h"

/* --- on another computer -------------------------------------------------------------- */

static int put_there(const struct transfer *t, const struct image *image, struct error *err)
{
	const char *words[REMOTE_WORDS_MAX] = {t->command->name, "--yes"};
	size_t n = 2;

	if (t->client.json)
		words[n++] = "--json";
	if (t->exact)
		words[n++] = "--exact";
	words[n++] = "--";
	words[n++] = "-";
	if (t->word)
		words[n++] = t->word;
	return remote_run(t->client.host, words, image->fd, -1, err);
}

/* --- here --------------------------------------------------------------------------- */

static int ask(const struct transfer *t, struct client *c, struct pick *p, struct error *err)
{
	char name[160], loss[300];
	int r;

	if (t->yes)
		return 0;
	snprintf(name, sizeof(name), "%s:%u", p->board->name, p->partition->number);
	r = confirm_loss(c, p->partition, loss, sizeof(loss), err);
	if (r == 0)
		r = confirm(t->command->name, name, loss, false, err);
	return r < 0 ? r : pick_partition(c, name, p, err);
}

static int check_size(const struct image *image, const struct pick *p, struct error *err)
{
	if (!p->partition->size || image->size <= p->partition->size)
		return 0;
	return error_set(err, -ENOSPC, "%s:%u has %s, and the image %s", p->board->name,
		p->partition->number, UI_SIZE(p->partition->size), UI_SIZE(image->size));
}

static int restore(const struct transfer *t, struct client *c, const struct image *image,
	struct order *o, struct error *err)
{
	int r = sd_bus_message_append(o->message, "hb", image->fd, (int)t->exact);

	if (r < 0)
		return error_set(err, r, "cannot hand the image to romountd");
	return orders_run(c, o, 1, err);
}

/* What was restored into the folder is written in the background, unless somebody waits. */
static int wait_for_flash(struct client *c, const char *name, struct order *o, struct error *err)
{
	struct pick p;
	int r = pick_partition(c, name, &p, err);

	if (r == 0)
		r = order_partition(c, p.partition, "Sync", o, err);
	return r < 0 ? r : orders_run(c, o, 1, err);
}

static bool add_image(const struct order *o, struct json_object *to, void *ctx)
{
	const struct image *image = ctx;

	if (!json_put_bool(to, "verified", true) || !json_put_number(to, "image", image->size))
		return false;
	return !image->is_tree || (json_put_number(to, "files", image->files) &&
					  json_put_number(to, "bytes", image->bytes));
}

static int report(const struct transfer *t, const struct order *o, struct image *image)
{
	if (t->client.json)
		return orders_json(o, 1, t->command->name, add_image, image);
	if (o->result < 0)
		return 0;
	if (image->is_tree)
		printf("%s: %u file%s, %s, on flash, verified\n", o->name, image->files,
			image->files == 1 ? "" : "s", UI_SIZE(image->bytes));
	else
		printf("%s: %s, on flash, verified\n", o->name, t->path);
	return 0;
}

static int put(const struct transfer *t, struct client *c, struct pick *p, struct image *image,
	struct error *err)
{
	struct order restoring, syncing = {0};
	char name[160];
	int r = order_partition(c, p->partition, "Restore", &restoring, err);

	snprintf(name, sizeof(name), "%s", restoring.name);
	if (r == 0)
		r = restore(t, c, image, &restoring, err);
	if (r == 0)
		r = wait_for_flash(c, name, &syncing, err);
	if (syncing.result < 0)
		restoring.result = syncing.result, restoring.err = syncing.err;
	if (restoring.path && report(t, &restoring, image) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	order_done(&restoring);
	order_done(&syncing);
	return r;
}

static int put_here(const struct transfer *t, struct image *image, struct error *err)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct pick p;
	int r = client_open(&t->client, &c, err);

	if (r == 0)
		r = pick_partition(c, t->word, &p, err);
	if (r == 0)
		r = check_size(image, &p, err);
	if (r == 0)
		r = ask(t, c, &p, err);
	return r < 0 ? r : put(t, c, &p, image, err);
}

int transfer_put(const struct transfer *t)
{
	struct error err = {0};
	struct image image;
	int r = image_open(t->path, &t->pack, &image, &err);

	if (r < 0)
		return client_fail(t->command, &err);
	r = t->client.host ? put_there(t, &image, &err) : put_here(t, &image, &err);
	image_close(&image);
	fflush(stdout);
	if (r > 0)
		return r;
	return r < 0 ? client_fail(t->command, &err) : cli_finish(t->command);
}
