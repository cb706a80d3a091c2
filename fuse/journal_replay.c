/* SPDX-License-Identifier: MIT */
/* Reading a generation back.
 *
 * The first position where no whole frame of the expected number stands is the end. Whether
 * that is an ordinary end, a tail torn by a crash, or damage is told by what follows it:
 * each frame, and the mark behind the last one, names the frame up to which all was on disk
 * when it was written. A frame that is missing although a later one knew it to be on disk
 * has been damaged since. Without such a witness it was never promised: a power cut may
 * keep a later frame and lose an earlier one, as long as neither was flushed. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse/journal_log.h"
#include "util/bytes.h"
#include "util/io.h"

struct reader {
	int fd;
	uint64_t size; /* of the file */
	uint8_t *buffer;
	const struct journal_generation *generation;
};

/* The head of a frame of this generation that lies inside the file. */
static bool head_fits(const struct reader *r, const uint8_t *in, uint64_t at, struct frame *f)
{
	return frame_decode(in, f) == 0 && f->generation == r->generation->id &&
	       f->length <= r->size - at;
}

/* 1: the frame's CRC is right; 0: it is not. */
static int frame_whole(const struct reader *r, uint64_t at, const struct frame *f)
{
	uint64_t done = JOURNAL_CRC_FROM;
	uint32_t crc = 0;

	while (done < f->length) {
		size_t n = (size_t)MIN(f->length - done, JOURNAL_PIECE);
		int e = io_pread_full(r->fd, r->buffer, n, (off_t)(at + done));

		if (e < 0)
			return e;
		crc = journal_crc(crc, r->buffer, n);
		done += n;
	}
	return crc == f->crc;
}

/* 1: the frame `seq` stands at `at`; 0: it does not. */
static int next_frame(const struct reader *r, uint64_t at, uint64_t seq, struct frame *f)
{
	uint8_t head[JOURNAL_FRAME_SIZE];
	int e;

	if (r->size - at < sizeof(head))
		return 0;
	e = io_pread_full(r->fd, head, sizeof(head), (off_t)at);
	if (e < 0)
		return e;
	if (!head_fits(r, head, at, f) || f->kind != FRAME_CHANGES || f->seq != seq)
		return 0;
	return frame_whole(r, at, f);
}

/* -EUCLEAN for changes that no program of ours wrote: the CRC was right. */
static int replay_frame(const struct reader *r, uint64_t at, const struct frame *f,
	uint64_t base_size, journal_replay_fn replay, void *ctx)
{
	_cleanup_free_ uint8_t *meta = NULL;
	const uint8_t *p;
	size_t left = f->meta_len;
	int e;

	if (left == 0)
		return 0;
	p = meta = malloc(left);
	if (!meta)
		return -ENOMEM;
	e = io_pread_full(r->fd, meta, left, (off_t)(at + JOURNAL_FRAME_SIZE));
	if (e < 0)
		return e;
	while (left) {
		struct journal_change change;

		e = change_decode(&p, &left, at + f->length, base_size, &change);
		if (e == 0)
			e = replay(ctx, &change);
		if (e < 0)
			return e;
	}
	return 0;
}

static uint64_t after_last_nonzero(const uint8_t *p, size_t len)
{
	while (len && p[len - 1] == 0)
		len--;
	return len;
}

/* Looks at what follows the end of the whole frames. 1: a whole frame there knew that the
 * missing one, `seq`, was on disk; 0: none does. `used` is where the file's last byte that
 * is not zero ends. */
static int find_witness(const struct reader *r, uint64_t tail, uint64_t seq, uint64_t *used)
{
	_cleanup_free_ uint8_t *window = malloc(JOURNAL_PIECE);
	const size_t step = JOURNAL_PIECE - JOURNAL_FRAME_SIZE;
	uint64_t at;

	if (!window)
		return -ENOMEM;
	*used = tail;
	for (at = tail; at < r->size; at += step) {
		size_t n = (size_t)MIN(r->size - at, JOURNAL_PIECE), i;
		int e = io_pread_full(r->fd, window, n, (off_t)at);
		struct frame f;

		if (e < 0)
			return e;
		if (after_last_nonzero(window, n) == 0)
			continue;
		*used = at + after_last_nonzero(window, n);
		for (i = 0; i < step && i + JOURNAL_FRAME_SIZE <= n; i += JOURNAL_ALIGN) {
			if (!head_fits(r, window + i, at + i, &f) || f.durable < seq)
				continue;
			e = frame_whole(r, at + i, &f);
			if (e != 0)
				return e;
		}
	}
	return 0;
}

/* The mark that belongs at the tail is no loss. */
static uint64_t skip_mark(const struct reader *r, uint64_t tail)
{
	uint8_t head[JOURNAL_FRAME_SIZE];
	struct frame f;

	if (r->size - tail < sizeof(head) ||
		io_pread_full(r->fd, head, sizeof(head), (off_t)tail) < 0)
		return tail;
	if (!head_fits(r, head, tail, &f) || f.kind != FRAME_MARK ||
		frame_whole(r, tail, &f) != 1)
		return tail;
	return tail + f.length;
}

static int damaged(struct error *err, uint64_t at, const char *what)
{
	return error_set(err, -EUCLEAN,
		"the journal of staged changes is damaged at byte %llu (%s). It was left as it "
		"is; to go on without what was staged, move the file 'journal' away",
		(unsigned long long)at, what);
}

static int read_header(struct reader *r, struct journal_generation *generation,
	struct journal_header *header, struct error *err)
{
	uint8_t bytes[JOURNAL_HEADER_SIZE];
	struct stat st;
	int e;

	if (fstat(r->fd, &st) < 0)
		return error_set(err, -errno, "cannot read the journal: %m");
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(bytes))
		return damaged(err, 0, "too short for its header");
	r->size = (uint64_t)st.st_size;
	e = io_pread_full(r->fd, bytes, sizeof(bytes), 0);
	if (e == 0)
		e = journal_header_decode(bytes, header, generation);
	if (e == -EPROTONOSUPPORT)
		return error_set(err, e,
			"the journal of staged changes was written by another version of "
			"romount: finish or discard what is staged with that version");
	if (e == -EUCLEAN)
		return damaged(err, 0, "its header");
	if (e < 0)
		return error_set(err, e, "cannot read the journal: %s", strerror(-e));
	if (generation->checkpoint > r->size)
		return damaged(err, r->size, "its checkpoint is cut off");
	return 0;
}

static int replay_all(struct journal_log *log, const struct reader *r,
	journal_replay_fn replay, void *ctx, struct error *err)
{
	for (;;) {
		struct frame f;
		int e = next_frame(r, log->tail, log->seq + 1, &f);

		if (e == 0)
			return 0;
		if (e == 1 && log->tail < log->generation.checkpoint &&
			f.length > log->generation.checkpoint - log->tail)
			return damaged(err, log->tail, "a frame across the checkpoint's end");
		if (e == 1)
			e = replay_frame(r, log->tail, &f, log->base_size, replay, ctx);
		if (e == -EUCLEAN)
			return damaged(err, log->tail, "a frame that makes no sense");
		if (e < 0)
			return error_set(err, e, "cannot read the journal: %s", strerror(-e));
		log->tail += f.length;
		log->seq++;
	}
}

int journal_log_replay(struct journal_log *log, struct journal_header *header,
	journal_replay_fn replay, void *ctx, uint64_t *cut, struct error *err)
{
	struct reader r = {
		.fd = journal_file_fd(log->file),
		.buffer = log->buffer,
		.generation = &log->generation,
	};
	uint64_t used, end;
	int e;

	e = read_header(&r, &log->generation, header, err);
	if (e < 0)
		return e;
	log->base_size = header->size;
	log->tail = JOURNAL_HEADER_SIZE;
	log->allocated = r.size;
	log->seq = log->generation.first_seq - 1;
	e = replay_all(log, &r, replay, ctx, err);
	if (e < 0)
		return e;
	/* The checkpoint was on disk before the file got its name. */
	if (log->tail < log->generation.checkpoint)
		return damaged(err, log->tail, "in its checkpoint");
	e = find_witness(&r, log->tail, log->seq + 1, &used);
	if (e < 0)
		return error_set(err, e, "cannot read the journal: %s", strerror(-e));
	if (e == 1)
		return damaged(err, log->tail, "later frames are whole");
	end = skip_mark(&r, log->tail);
	*cut = used > end ? used - end : 0;
	return 0;
}
