/* SPDX-License-Identifier: MIT */
/* How bytes get to and from one partition: the layer between the targets, which know
 * ranges and rules, and the REPL. Two implementations: statements (works everywhere, slow)
 * and the agent (a program on the board that speaks binary frames).
 *
 * Ranges have been checked by target.c. A channel cuts them into what the board's heap and
 * the line bear, gives each step its own deadline, and checks each result. After an error
 * the session is over. */
#pragma once

#include "libdev/learn.h"
#include "libdev/repl.h"
#include "libdev/target.h"

struct dev_channel;

struct dev_channel_ops {
	/* Makes the partition the one that the others work on. */
	int (*select)(struct dev_channel *c, const struct dev_geometry *g, bool buffer,
		struct error *err);
	int (*read)(struct dev_channel *c, uint64_t off, void *buf, size_t len,
		struct error *err);
	int (*hash)(struct dev_channel *c, uint64_t off, uint64_t len, uint64_t step,
		uint8_t (*out)[SHA256_SIZE], struct error *err);
	/* NULL: hash() for each. */
	int (*hash_list)(struct dev_channel *c, const struct dev_extent *v, size_t n,
		uint8_t (*out)[SHA256_SIZE], struct error *err);
	int (*erase)(struct dev_channel *c, uint64_t off, uint64_t len, struct error *err);
	int (*program)(struct dev_channel *c, uint64_t off, const void *buf, size_t len,
		struct error *err);
	/* Back to the raw REPL's prompt. */
	int (*leave)(struct dev_channel *c, struct error *err);
	/* The same without waiting for it, before the board is given back. NULL: always there. */
	void (*quit)(struct dev_channel *c);
	/* What the board said when the partition was selected; NULL: it says nothing. */
	const char *(*identity)(struct dev_channel *c);
	void (*free)(struct dev_channel *c);
};

struct dev_channel {
	const struct dev_channel_ops *ops;
	struct repl *repl;
	const struct dev_board_info *info;
	const struct board_caps *caps;
	struct dev_geometry geometry; /* of the selected partition */
	unsigned silence_ms; /* so long the board waits for a host that says nothing */
	bool refused; /* the last error came from flash: the board still answers */
	uint64_t refused_at; /* where channel_refused was told of it */
};

static inline void dev_channel_free(struct dev_channel *c)
{
	if (c)
		c->ops->free(c);
}
DEFINE_CLEANUP(struct dev_channel *, dev_channel_free);

/* `info` and `caps` stay the caller's and must outlive the channel. */
must_check int dev_channel_statements(struct repl *r, const struct dev_board_info *info,
	const struct board_caps *caps, struct dev_channel **out, struct error *err);

/* -EOPNOTSUPP, here or when a partition is selected, where the board lacks what the agent
 * needs; the prompt is there again, and statements will do. `silence_ms`: 0 is a minute. */
must_check int dev_channel_agent(struct repl *r, const struct dev_board_info *info,
	const struct board_caps *caps, unsigned silence_ms, struct dev_channel **out,
	struct error *err);

/* --- shared by the two ---------------------------------------------------------- */

#define CHANNEL_REPLY_MS 3000u /* for the board to answer at all, beside its work */

/* The functions of c->geometry, in pieces for boards of little memory: g(off,len) gives
 * bytes, e(off,len) erases and p(off,buf) programs, both giving (error, offset), h(off,len)
 * gives a SHA-256; error is 0, or what the flash function reported. See helpers.c. The first
 * takes /rom out of use: VfsRom keeps pointers into flash from the mount on. -EIO: it cannot
 * be read. */
must_check int channel_send_helpers(struct dev_channel *c, bool buffer, struct error *err);
/* All of them as one text, at most `cap` bytes; gives its length. */
size_t channel_helpers(struct dev_channel *c, bool buffer, char *out, size_t cap);
/* -EIO where no way of reading is known. */
must_check int channel_can_read(struct dev_channel *c, bool buffer, struct error *err);
/* Sends definitions, with a sum. */
must_check int channel_define(struct dev_channel *c, const char *code, struct error *err);
/* Runs a statement that holds its own checks and must raise nothing. */
must_check int channel_run(struct dev_channel *c, const char *code, uint64_t work_ms,
	struct repl_reply *reply, struct error *err);
/* Flash refused: -EIO with a sentence. */
int channel_refused(struct dev_channel *c, const char *doing, uint64_t off, int64_t code,
	struct error *err);
/* Bytes per step: a power of two times the write unit, so that `share` of them fit into the
 * free heap; 0 where not even one write unit does. At most `max`, or one write unit. */
size_t channel_step(const struct dev_channel *c, unsigned share, size_t max);
/* Raw deflate for a window of 12 bits (the board's memory); 0 where it saves less than an
 * eighth, or `cap` does not hold it. */
size_t channel_deflate(const uint8_t *buf, size_t len, uint8_t *out, size_t cap);
uint64_t channel_program_ms(const struct dev_channel *c, size_t len);
/* So many erase blocks in one request, that it ends within a few seconds. */
uint64_t channel_erase_batch(const struct dev_channel *c);
uint64_t channel_hash_ms(uint64_t len);
