/* SPDX-License-Identifier: MIT */
#include "cli/confirm.h"

#include <errno.h>

#include "cli/memmap.h"
#include "cli/operate.h"
#include "cli/task.h"
#include "cli/ui.h"

int confirm(const char *what, const char *name, const char *loss, bool yes, struct error *err)
{
	_cleanup_(task_freep) struct task *task = NULL;
	char question[1000];
	int r;

	if (!loss[0] || yes)
		return 0;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return error_set(err, -ECANCELED,
			"%s: %s would be gone; nobody can be asked here, so say it with --yes",
			name, loss);
	snprintf(question, sizeof(question), "%s %s: %s will be gone.", what, name, loss);
	r = task_new(&task, err);
	if (r == 0)
		r = task_ask(task, question, err);
	if (r < 0)
		return r;
	return r > 0 ? 0 : error_set(err, -ECANCELED, "nothing was changed");
}

static void tell(const struct memmap *m, unsigned waiting, char *out, size_t cap)
{
	struct memmap_sums sums;
	int n = 0;

	memmap_sum(m, &sums);
	out[0] = '\0';
	if (sums.files)
		n = snprintf(out, cap, "%u file%s, %s", sums.files, sums.files == 1 ? "" : "s",
			UI_SIZE(sums.bytes[MEMMAP_FILE]));
	if (waiting)
		snprintf(out + n, cap - (size_t)n, "%s%u file%s that wait%s to be written",
			n ? ", and " : "", waiting, waiting == 1 ? "" : "s",
			waiting == 1 ? "s" : "");
}

int confirm_loss(struct client *c, const struct boards_partition *p, char *out, size_t cap,
	struct error *err)
{
	unsigned waiting = p->pending_files;
	struct memmap map = {0};
	struct error why = {0};
	struct order order;
	int r = order_partition(c, p, "Layout", &order, err);

	if (r == 0)
		r = orders_run(c, &order, 1, &why);
	if (r == -ECANCELED || r == CLIENT_NO_DAEMON)
		error_set(err, r, "%s", why.text);
	else if (r == 0 && memmap_read(order.reply, &map, &why) == 0)
		tell(&map, waiting, out, cap);
	else
		snprintf(out, cap, "what is there"), r = 0;
	memmap_clear(&map);
	order_done(&order);
	return r;
}
