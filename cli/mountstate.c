/* SPDX-License-Identifier: MIT */
#include "cli/mountstate.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "cli/folder.h"
#include "fuse/state.h"

#define FACTS_MAX 4u

struct facts {
	struct report_fact *list;
	size_t n;
	bool short_of_memory;
};

static void add(struct facts *f, const char *name, const char *value)
{
	struct report_fact *fact = &f->list[f->n];

	fact->name = strdup(name);
	fact->value = strdup(value);
	f->n++;
	if (!fact->name || !fact->value)
		f->short_of_memory = true;
}

int mountstate_open(const struct dev_board_info *board, const char *path, unsigned partition,
	const char *state_dir, pid_t *holder, int *fd)
{
	_cleanup_free_ char *root = NULL, *real = NULL;
	char key[STATE_KEY_SIZE];
	int r = state_root(state_dir, &root, NULL);

	if (r < 0)
		return r;
	if (board) {
		state_key_board(board->unique_id, board->machine, path, key);
	} else {
		real = realpath(path, NULL);
		if (!real)
			return -errno;
		state_key_image(real, key);
	}
	return state_peek(root, key, partition, fd, holder, NULL);
}

static void tell(struct facts *f, const struct state_line *lines, size_t n, pid_t holder)
{
	const char *state = state_status_get(lines, n, "state");
	const char *error = state_status_get(lines, n, "error");
	const char *mount = state_status_get(lines, n, "mount");
	char text[PATH_MAX];

	if (holder && mount) {
		snprintf(text, sizeof(text), "%s (romount, pid %ld)", mount, (long)holder);
		add(f, "mounted", text);
	}
	if (state && (holder || strcmp(state, "on flash") != 0))
		add(f, "staging",
			holder ? state
			       : "files wait on this computer; mounted again, they are written, "
				 "or laid out beside it where another program was first");
	if (error && *error)
		add(f, "last error", error);
}

int mountstate_facts(const struct dev_board_info *board, const char *path, unsigned partition,
	const char *state_dir, struct report_fact **out, size_t *n)
{
	_cleanup_free_ struct state_line *lines = calloc(STATE_LINES_MAX, sizeof(*lines));
	struct facts f = {.list = calloc(FACTS_MAX, sizeof(*f.list))};
	_cleanup_close_ int fd = -1;
	pid_t holder = 0;
	size_t count = 0;

	if (!lines || !f.list) {
		free(f.list);
		return -ENOMEM;
	}
	/* No state, or none that we may read: then there is nothing to tell. */
	if (mountstate_open(board, path, partition, state_dir, &holder, &fd) == 0 &&
		state_read_status(fd, lines, STATE_LINES_MAX, &count) == 0)
		tell(&f, lines, count, holder);
	if (f.short_of_memory) {
		folder_facts_free(f.list, f.n);
		return -ENOMEM;
	}
	*out = f.list;
	*n = f.n;
	return 0;
}
