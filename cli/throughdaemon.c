/* SPDX-License-Identifier: MIT */
#include "cli/throughdaemon.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Files and folders are what they are; a port may be the daemon's, and so may a word that is
 * no path. */
static bool may_be_board(const char *word)
{
	struct stat st;

	if (!word || stat(word, &st) < 0)
		return !word || strncmp(word, "./", 2) != 0;
	return S_ISCHR(st.st_mode) || !strchr(word, '/');
}

static bool is_there(const char *word)
{
	struct stat st;

	return stat(word, &st) == 0 || strchr(word, '/');
}

int throughdaemon_find(const struct client_options *o, const char *word,
	struct client **client, struct pick *out, struct error *err)
{
	_cleanup_(client_freep) struct client *c = NULL;
	bool wanted = o->host || o->scope != CLIENT_ANY;
	int r;

	if (!wanted && !may_be_board(word))
		return 0;
	r = client_open(o, &c, err);
	if (r < 0 && !wanted && (r == CLIENT_NO_DAEMON || (word && is_there(word)))) {
		error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	r = word ? pick_try(c, word, out, err) : 0;
	if (r == 0 && word && !wanted && is_there(word))
		return 0;
	/* A name that nothing has: the daemon knows what could be meant. */
	if (r == 0)
		r = pick_board(c, word, out, err);
	if (r < 0)
		return r;
	*client = TAKE_PTR(c);
	return 1;
}
