/* SPDX-License-Identifier: MIT */
/* What `romount doctor` looks at, and what it finds.
 *
 * Checks read files below the place's root and change nothing. What they read may come from
 * anybody: texts of a report are printable and capped. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cli/boards.h"
#include "util/macros.h"

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_NOTE, /* worth knowing, nothing is wrong */
	DOCTOR_BAD,
};

struct doctor_finding {
	enum doctor_verdict verdict;
	const char *check; /* which check it is: a word, static */
	char text[320];	   /* what is so */
	char advice[480];  /* what to do; "" */
};

struct doctor_report {
	struct doctor_finding *list;
	size_t n, cap;
	bool lost; /* memory was short */
};

void doctor_report_clear(struct doctor_report *r);
/* The finding, for doctor_advise; NULL where memory is short. */
struct doctor_finding *doctor_find(struct doctor_report *r, const char *check,
	enum doctor_verdict verdict, const char *fmt, ...) format_like(4, 5);
void doctor_advise(struct doctor_finding *f, const char *fmt, ...) format_like(2, 3);
bool doctor_is_bad(const struct doctor_report *r);

struct doctor_place {
	const char *root; /* "", or a tree of a test's own with dev/, proc/, sys/, run/... */
	const char *path; /* of $PATH */
	const char *user; /* for advice */
	bool is_root;
	bool system_daemon; /* it has the ports, whoever asks */
	/* Whether somebody serves the mount: 0, -ENOTCONN, -ETIMEDOUT, or -errno that tells
	 * nothing. */
	int (*probe_mount)(const char *path);
};

/* --- the checks --- */
void doctor_check_rules(const struct doctor_place *p, struct doctor_report *r);
void doctor_check_ports(const struct doctor_place *p, struct doctor_report *r);
void doctor_check_fuse(const struct doctor_place *p, struct doctor_report *r);
void doctor_check_mounts(const struct doctor_place *p, struct doctor_report *r);
void doctor_check_tools(const struct doctor_place *p, struct doctor_report *r);
/* `boards` NULL: no daemon answers, for the reason `why`. `scopes`: "the system's". */
void doctor_check_daemon(const struct boards *boards, const char *scopes, const char *why,
	struct doctor_report *r);
/* What a board has told that was asked: its partitions, or why it could not be. */
void doctor_check_board(const char *port, int n_partitions, const char *why,
	struct doctor_report *r);

/* --- helpers of the checks, below the place's root --- */
bool doctor_has(const struct doctor_place *p, const char *fmt, ...) format_like(2, 3);
/* The first line, printable; false where it cannot be read. */
bool doctor_read(const struct doctor_place *p, char *out, size_t cap, const char *fmt, ...)
	format_like(4, 5);
/* KEY's value in the udev data base's record of a device number ("166:0"); false: none. */
bool doctor_udev(const struct doctor_place *p, const char *devnum, const char *key, char *out,
	size_t cap);
/* A process of this name; its number, or 0. */
long doctor_process(const struct doctor_place *p, const char *name);
/* The program's path below the directories of $PATH; false: none. */
bool doctor_program(const struct doctor_place *p, const char *name, char *out, size_t cap);
