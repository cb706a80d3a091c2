/* SPDX-License-Identifier: MIT */
#include "tests/board/lane.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

/* How far ahead of the line bytes are taken from the sender, so that a late wake-up leaves
 * no gap on the line, and how often they are handed over. */
#define READ_AHEAD (20 * 1000000ll)
#define HAND_OVER_PER_SEC 2000

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool chance(struct lane *l, double rate)
{
	return rate > 0 && (double)(next_random(l->random) >> 11) * 0x1p-53 < rate;
}

static int64_t send_time(const struct lane *l, uint32_t len)
{
	return l->speed ? len * NSEC_PER_SEC / l->speed : 0;
}

static void put(struct lane *l, uint8_t byte)
{
	l->data[l->head++ % LANE_BYTES] = byte;
}

static uint32_t put_with_faults(struct lane *l, const uint8_t *bytes, uint32_t len)
{
	uint32_t before = l->head;

	for (uint32_t i = 0; i < len; i++) {
		uint8_t byte = bytes[i];

		if (chance(l, l->lose)) {
			l->lost++;
			continue;
		}
		if (chance(l, l->flip)) {
			byte ^= (uint8_t)(1u << (next_random(l->random) % 8));
			l->flipped++;
		}
		put(l, byte);
		if (chance(l, l->dup)) {
			put(l, byte);
			l->doubled++;
		}
	}
	return l->head - before;
}

static void add_span(struct lane *l, uint32_t len, int64_t now)
{
	int64_t start = now > l->line_free ? now : l->line_free;
	struct lane_span *last = &l->spans[(l->end_span - 1) % LANE_SPANS];

	if (l->end_span != l->first_span && l->speed && start == l->line_free)
		last->len += len;
	else
		l->spans[l->end_span++ % LANE_SPANS] =
			(struct lane_span){ .start = start, .len = len };
	l->line_free = start + send_time(l, len);
}

static bool wants_input(const struct lane *l, int64_t now)
{
	return l->from >= 0 && LANE_BYTES - (l->head - l->tail) >= 2 * 4096 &&
	       l->end_span - l->first_span < LANE_SPANS - 1 &&
	       l->line_free - now <= READ_AHEAD;
}

static void take(struct lane *l, int64_t now)
{
	uint8_t bytes[4096];
	size_t cap = sizeof(bytes);
	ssize_t n;

	if (l->speed && l->speed / 50 < (int64_t)cap)
		cap = (size_t)(l->speed / 50 + 1);
	n = read(l->from, bytes, cap);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		l->from = -1;
		return;
	}
	l->bytes += (uint64_t)n;
	n = put_with_faults(l, bytes, (uint32_t)n);
	if (n)
		add_span(l, (uint32_t)n, now);
}

/* How many bytes of the first span have arrived by `now`, in steps of a hand-over. */
static uint32_t arrived(const struct lane *l, const struct lane_span *s, int64_t now)
{
	int64_t passed = now - l->latency - s->start;
	int64_t step = l->speed / HAND_OVER_PER_SEC;
	int64_t n;

	if (passed < 0)
		return 0;
	if (!l->speed || passed >= send_time(l, s->len))
		return s->len;
	n = passed / 1000 * l->speed / 1000000;
	if (step > 1)
		n -= n % step;
	return n < s->len ? (uint32_t)n : s->len;
}

static uint32_t deliverable(const struct lane *l, int64_t now)
{
	uint32_t sum = 0;

	for (uint32_t i = l->first_span; i != l->end_span; i++) {
		const struct lane_span *s = &l->spans[i % LANE_SPANS];
		uint32_t n = arrived(l, s, now);

		sum += n > s->done ? n - s->done : 0;
		if (n < s->len)
			break;
	}
	return sum;
}

static void consume(struct lane *l, uint32_t n)
{
	l->tail += n;
	while (n) {
		struct lane_span *s = &l->spans[l->first_span % LANE_SPANS];
		uint32_t part = s->len - s->done < n ? s->len - s->done : n;

		s->done += part;
		n -= part;
		if (s->done == s->len)
			l->first_span++;
	}
}

static void give(struct lane *l, int64_t now, bool writable)
{
	uint32_t n;

	while ((n = deliverable(l, now))) {
		uint32_t at = l->tail % LANE_BYTES;
		uint32_t run = LANE_BYTES - at < n ? LANE_BYTES - at : n;
		ssize_t done = -1;

		if (l->to >= 0 && (writable || !l->blocked_since))
			done = write(l->to, l->data + at, run);
		if (done > 0) {
			l->blocked_since = 0;
			consume(l, (uint32_t)done);
			continue;
		}
		if (l->to >= 0 && !l->blocked_since)
			l->blocked_since = now;
		if (l->to >= 0 && !(l->stall && now - l->blocked_since >= l->stall))
			return;
		/* Nobody reads, as when no program has the port open: a board drops. */
		l->dropped += n;
		consume(l, n);
	}
}

static int64_t next_arrival(const struct lane *l)
{
	const struct lane_span *s = &l->spans[l->first_span % LANE_SPANS];
	int64_t step = l->speed / HAND_OVER_PER_SEC;
	uint32_t goal;

	if (l->first_span == l->end_span)
		return INT64_MAX;
	if (step < 1)
		step = 1;
	goal = s->done + (uint32_t)step - (uint32_t)(s->done % step);
	if (!l->speed || goal > s->len)
		goal = s->len;
	return s->start + send_time(l, goal) + l->latency + 1000;
}

void lane_poll(struct lane *l, struct pollfd p[2], int64_t *wake)
{
	int64_t now = now_ns();
	int64_t at = INT64_MAX;

	p[0] = (struct pollfd){ .fd = wants_input(l, now) ? l->from : -1, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = l->blocked_since ? l->to : -1, .events = POLLOUT };
	if (l->from >= 0 && p[0].fd < 0)
		at = l->line_free - READ_AHEAD / 2;
	if (l->blocked_since && l->stall)
		at = l->blocked_since + l->stall;
	if (!l->blocked_since && next_arrival(l) < at)
		at = next_arrival(l);
	if (at < *wake)
		*wake = at;
}

void lane_run(struct lane *l, const struct pollfd p[2])
{
	int64_t now = now_ns();

	if (p[0].fd >= 0 && p[0].revents)
		take(l, now);
	give(l, now, p[1].fd >= 0 && p[1].revents);
}
