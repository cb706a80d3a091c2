/* SPDX-License-Identifier: MIT */
/* A byte stream to a board. Implementations: a tty (tty.h), a socket (socket.h); USB by libusb
 * can stand behind the same contract.
 *
 * One thread uses a transport. Every wait ends by data, by its deadline (-ETIMEDOUT), by
 * the cancel descriptor (-ECANCELED), or by the device going away (-ENODEV). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

struct dev_transport;

struct dev_transport_ops {
	/* 1..cap bytes as soon as there are any; -errno as above. Never 0. */
	ssize_t (*read)(struct dev_transport *t, void *buf, size_t cap, deadline_t deadline);
	/* All bytes handed to the kernel, or -errno. */
	int (*write)(
		struct dev_transport *t, const void *buf, size_t len, deadline_t deadline);
	/* Drops what has been received and not yet read. */
	void (*discard)(struct dev_transport *t);
	void (*free)(struct dev_transport *t);
};

struct dev_transport {
	const struct dev_transport_ops *ops;
	const char *name; /* for messages: "/dev/ttyACM0" */
	uint64_t bytes_in, bytes_out; /* counted by the implementation */
	/* The board is being given back: the cancel descriptor counts no more, only the
	 * (short) deadlines do. */
	bool finishing;
};

static inline void dev_transport_free(struct dev_transport *t)
{
	if (t)
		t->ops->free(t);
}
DEFINE_CLEANUP(struct dev_transport *, dev_transport_free);
