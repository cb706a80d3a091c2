/* SPDX-License-Identifier: MIT */
/* A folder without a mount, for tests: an image file, a state directory, and everything
 * between attach() and the worker, driven by hand. Functions fail the test where they
 * cannot; those named `try` tell. */
#pragma once

#include "fuse/attach.h"
#include "fuse/committer.h"
#include "fuse/worker.h"

struct rig {
	char dir[32], image[64], state[64];
	struct romfs_pack_options pack;
	bool board; /* a fakeboard, at the image's path, in place of the image file */
	const char *id; /* of the port */
	bool ask;
	uint64_t image_size; /* for the image file; 0: its own */
	unsigned quiet_ms; /* before a commit; an hour unless set before attaching */
	unsigned idle_ms;  /* before tidying up; 0: never */
	struct link *link; /* to the fakeboard */
	struct attached a; /* while attached */
	sd_event *event;
	struct worker *worker;
	struct committer *committer;
	struct committer_waiter waiter;
	bool waiting, fetching;
	int result; /* of the last sync */
	char log[600]; /* the last line */
	unsigned notified;
};

/* A blank image file; nothing is attached. */
void rig_make(struct rig *r, uint64_t size);
void rig_remove(struct rig *r);

/* A link of its own to the fakeboard at the image's path. */
struct link *rig_link(struct rig *r, const struct log_sink *log);
must_check int rig_try_attach(struct rig *r, struct error *err);
void rig_attach(struct rig *r);
/* As a crash does it: nothing is staged or committed. */
void rig_detach(struct rig *r);
void rig_reattach(struct rig *r);
/* Another host: what flash holds is all that is known. */
void rig_forget_state(struct rig *r);
/* As if nothing of flash had been read yet: an image file is read when it is attached. */
void rig_forget_bytes(struct rig *r);

/* Runs the loop until what was asked for is done. */
void rig_start_sync(struct rig *r);
int rig_finish_sync(struct rig *r);
int rig_try_sync(struct rig *r);
void rig_sync(struct rig *r);
void rig_run_until(struct rig *r, bool (*is_done)(struct rig *r));
void rig_fetch(struct rig *r, struct node *n);

static inline struct folder *rig_folder(struct rig *r)
{
	return r->a.folder;
}

/* By path from the root, "" is the root; NULL where there is none. */
struct node *rig_find(struct rig *r, const char *path);
/* What the kernel and a program do to an open file. */
void rig_open(struct node *n);
must_check int rig_try_close(struct rig *r, struct node *n);
void rig_close(struct rig *r, struct node *n);

/* Makes a file or replaces its content, and closes it. */
must_check int rig_try_write(struct rig *r, const char *path, const void *buf, size_t len);
void rig_write(struct rig *r, const char *path, const void *buf, size_t len);
void rig_mkdir(struct rig *r, const char *path);
void rig_unlink(struct rig *r, const char *path);
must_check int rig_try_rename(
	struct rig *r, const char *from, const char *to, unsigned flags);
void rig_rename(struct rig *r, const char *from, const char *to);

void rig_expect_bytes(struct rig *r, struct node *n, const void *buf, size_t len);
void rig_expect(struct rig *r, const char *path, const void *buf, size_t len);
void rig_expect_none(struct rig *r, const char *path);
/* What is reckoned is what counting anew gives. */
void rig_expect_charges(struct rig *r);
/* Flash holds a valid image of exactly `entries` files and directories. */
void rig_expect_image(struct rig *r, unsigned entries);

/* Bytes that a number brings back. */
void rig_fill(void *buf, size_t len, uint64_t seed);
uint64_t rig_seed(const char *test); /* $SEED or the clock's; printed */
uint64_t rig_random(uint64_t *state);
