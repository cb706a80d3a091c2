/* SPDX-License-Identifier: MIT */
/* What tty.c and socket.c share: a descriptor that does not block as a transport. */
#pragma once

#include "libdev/transport.h"

struct line {
	struct dev_transport base;
	int fd, cancel_fd;
	bool is_socket; /* where nobody listens any more, no SIGPIPE is wanted */
	char name[128];
};

static inline struct line *line_of(struct dev_transport *t)
{
	return container_of(t, struct line, base);
}

/* Takes the descriptor; `l` is zeroed otherwise. 0, or -errno. */
must_check int line_init(struct line *l, int fd, const char *name, int cancel_fd,
	const struct dev_transport_ops *ops);
/* Closes it. */
void line_done(struct line *l);

/* For dev_transport_ops. */
ssize_t line_read(struct dev_transport *t, void *buf, size_t cap, deadline_t deadline);
int line_write(struct dev_transport *t, const void *buf, size_t len, deadline_t deadline);
