/* SPDX-License-Identifier: MIT */
/* What romountd tells of itself and of its boards. */
#include <string.h>

#include "cli/doctor.h"

#define NO_ROMFS_ADVICE                                                                  \
	"its firmware has none: one with MICROPY_VFS_ROM and a ROM partition is needed, such " \
	"as a board variant with ROMFS in its name"

static void check_partitions(const struct boards_board *b, struct doctor_report *r)
{
	for (size_t i = 0; i < b->n_partitions; i++) {
		const struct boards_partition *p = b->partitions[i];

		if (strcmp(p->state, "failed") != 0)
			continue;
		doctor_advise(doctor_find(r, "partition", DOCTOR_BAD, "%s rom%u: %s", b->name,
				      p->number, p->error[0] ? p->error : "it failed"),
			"'romount info %s' and STATUS.txt in %s tell more", b->name,
			b->directory[0] ? b->directory : "its folder");
	}
}

static void check_one(const struct boards_board *b, struct doctor_report *r)
{
	if (strcmp(b->state, "none") == 0)
		doctor_advise(doctor_find(r, "board", DOCTOR_BAD, "%s has no ROM partition",
				      b->name),
			NO_ROMFS_ADVICE);
	else if (strcmp(b->state, "failed") == 0)
		doctor_advise(doctor_find(r, "board", DOCTOR_BAD, "%s: %s", b->name,
				      b->error[0] ? b->error : "it failed"),
			"'romount attach %s' tries again", b->name);
	else if (!b->present)
		doctor_find(r, "board", DOCTOR_NOTE,
			"%s is away; %llu bytes wait for it on this computer", b->name,
			(unsigned long long)boards_pending(b));
	else if (strcmp(b->state, "waiting") == 0)
		doctor_advise(doctor_find(r, "board", DOCTOR_NOTE, "%s has not been asked yet",
				      b->name),
			"'romount attach %s' asks it", b->name);
	else if (strcmp(b->state, "released") == 0)
		doctor_advise(doctor_find(r, "board", DOCTOR_NOTE, "%s is left to other programs",
				      b->name),
			"'romount attach %s' takes it back", b->name);
	else if (strcmp(b->state, "ejected") == 0)
		doctor_advise(doctor_find(r, "board", DOCTOR_NOTE,
				      "%s was ejected, and may be unplugged", b->name),
			"'romount attach %s' takes it back", b->name);
	else
		doctor_find(r, "board", DOCTOR_OK, "%s is %s", b->name, b->state);
	check_partitions(b, r);
}

void doctor_check_daemon(const struct boards *boards, const char *scopes, const char *why,
	struct doctor_report *r)
{
	if (!boards) {
		doctor_advise(doctor_find(r, "romountd", DOCTOR_BAD, "%s", why),
			"sudo systemctl enable --now romountd; for yourself alone, without root: "
			"systemctl --user enable --now romountd, or 'romountd --user &'");
		return;
	}
	doctor_find(r, "romountd", DOCTOR_OK, "%s romountd runs, with %zu board%s", scopes,
		boards->n, boards->n == 1 ? "" : "s");
	for (size_t i = 0; i < boards->n; i++)
		check_one(boards->list[i], r);
}

void doctor_check_board(
	const char *port, int n_partitions, const char *why, struct doctor_report *r)
{
	if (n_partitions < 0)
		doctor_find(r, "board", DOCTOR_BAD, "%s: %s", port, why);
	else if (n_partitions == 0)
		doctor_advise(doctor_find(r, "board", DOCTOR_BAD,
				      "the board at %s has no ROM partition", port),
			NO_ROMFS_ADVICE);
	else
		doctor_find(r, "board", DOCTOR_OK, "the board at %s has %d ROM partition%s", port,
			n_partitions, n_partitions == 1 ? "" : "s");
}
