/* SPDX-License-Identifier: MIT */
/* What repl.c (statements) and repl_enter.c (finding the prompt) share. */
#pragma once

#include "libdev/repl.h"

#define REPL_BANNER "raw REPL; CTRL-B to exit\r\n>"
#define REPL_SCAN_CAP (4u << 20) /* bytes of other output to look through for an answer */

struct repl {
	struct dev_transport *t;
	const struct log_sink *log;
	unsigned baud;
	bool no_raw_paste;
	bool heard; /* at least one byte came */
	uint8_t buf[4096];
	size_t head, tail;
};

struct repl_pattern {
	const char *bytes;
	size_t len;
};
#define PATTERN(s) {s, sizeof(s) - 1}

/* Reads until one of the patterns has come, and gives its index; other bytes are dropped,
 * -EPROTO after `cap` of them. */
int repl_expect(struct repl *r, const struct repl_pattern *patterns, size_t n, size_t cap,
	deadline_t deadline);
/* Reads and drops until nothing came for `quiet_ms`; -EPROTO if the deadline comes first. */
int repl_drain(struct repl *r, unsigned quiet_ms, deadline_t deadline);
/* At least one byte in the buffer. */
int repl_fill(struct repl *r, deadline_t deadline);
