/* SPDX-License-Identifier: MIT */
#include "cli/pick.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/nearword.h"
#include "cli/open.h"
#include "util/text.h"

/* --- ports and folders -------------------------------------------------------------- */

static bool is_same_device(const struct stat *st, const char *port)
{
	struct stat other;

	return stat(port, &other) == 0 && S_ISCHR(other.st_mode) &&
	       other.st_rdev == st->st_rdev;
}

static bool is_in(const char *path, const char *folder)
{
	return *folder == '/' && boards_is_below(path, folder);
}

static bool take_folder(struct boards_board *b, const char *path, struct pick *out)
{
	for (size_t i = 0; i < b->n_partitions; i++) {
		if (!is_in(path, b->partitions[i]->mount))
			continue;
		*out = (struct pick){.board = b, .partition = b->partitions[i]};
		return true;
	}
	if (!is_in(path, b->directory))
		return false;
	*out = (struct pick){.board = b};
	return true;
}

/* Of this computer: what another one has is not to be found here. */
static bool take_path(struct client *c, const char *word, struct pick *out)
{
	const struct boards *boards = client_boards(c);
	_cleanup_free_ char *path = NULL;
	struct stat st;
	bool is_port;

	if (client_is_remote(c) || stat(word, &st) < 0)
		return false;
	path = realpath(word, NULL);
	is_port = S_ISCHR(st.st_mode);
	for (size_t i = 0; path && i < boards->n; i++) {
		struct boards_board *b = boards->list[i];

		if (is_port && is_same_device(&st, b->port)) {
			*out = (struct pick){.board = b};
			return true;
		}
		if (!is_port && take_folder(b, path, out))
			return true;
	}
	return false;
}

static bool take_name(struct client *c, const char *word, struct pick *out)
{
	struct boards_board *b = boards_find(client_boards(c), word);
	const struct boards *boards = client_boards(c);

	/* A port that is not plugged in, or a socket, is known by its text alone. */
	for (size_t i = 0; !b && i < boards->n; i++)
		if (*boards->list[i]->port && !strcmp(boards->list[i]->port, word))
			b = boards->list[i];
	if (b)
		*out = (struct pick){.board = b};
	return b;
}

/* --- partitions --------------------------------------------------------------------- */

int pick_number(struct pick *p, int number, struct error *err)
{
	const struct boards_board *b = p->board;
	char list[200] = "";
	int n = 0;

	if (number < 0 && p->partition)
		return 0;
	if (b->n_partitions == 0)
		return error_set(err, CLIENT_NO_BOARD, "%s shows no partition: %s", b->name,
			*b->error ? b->error : *b->state ? b->state : "it is not known yet");
	p->partition = number < 0 && b->n_partitions == 1
			       ? b->partitions[0]
			       : boards_partition(b, number < 0 ? 0 : (unsigned)number);
	if (p->partition)
		return 0;
	for (size_t i = 0; i < b->n_partitions && n < (int)sizeof(list); i++)
		n += snprintf(list + n, sizeof(list) - (size_t)n, "%s%u", i ? ", " : "",
			b->partitions[i]->number);
	return error_set(err, CLIENT_NO_BOARD, "%s has no partition %d, but %s: say %s:N",
		b->name, MAX(number, 0), list, b->name);
}

/* BOARD:N */
static int take_numbered(struct client *c, const char *word, struct pick *out,
	struct error *err)
{
	const char *colon = strrchr(word, ':'), *number;
	_cleanup_free_ char *name = NULL;
	struct pick found;
	unsigned n;
	int r;

	if (!colon || colon == word)
		return 0;
	name = strndup(word, (size_t)(colon - word));
	if (!name)
		return error_set(err, -ENOMEM, "out of memory");
	if (!take_name(c, name, &found) && !take_path(c, name, &found))
		return 0;
	number = colon + 1 + (strncmp(colon + 1, "rom", 3) ? 0 : 3);
	if (subject_parse_number(number, &n) < 0)
		return error_set(err, CLIENT_NO_BOARD,
			"'%s' is no number of a partition: say %s:0", colon + 1, name);
	r = pick_number(&found, (int)n, err);
	if (r < 0)
		return r;
	*out = found;
	return 1;
}

/* --- words -------------------------------------------------------------------------- */

int pick_try(struct client *c, const char *word, struct pick *out, struct error *err)
{
	if (take_name(c, word, out) || take_path(c, word, out))
		return 1;
	return take_numbered(c, word, out, err);
}

static void list_names(const struct boards *boards, char *out, size_t cap)
{
	size_t n = 0, i;

	for (i = 0; i < boards->n && n + 1 < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? ", " : "",
			boards->list[i]->name);
}

static int say_unknown(const struct boards *boards, const char *word, struct error *err)
{
	struct nearword near = {.word = word};
	char shown[128], names[200];

	snprintf(shown, sizeof(shown), "%s", word);
	text_make_printable(shown);
	list_names(boards, names, sizeof(names));
	for (size_t i = 0; i < boards->n; i++)
		nearword_try(&near, boards->list[i]->name);
	if (boards->n == 0)
		return error_set(err, CLIENT_NO_BOARD,
			"there is no board %s: romountd knows none", shown);
	if (near.best)
		return error_set(err, CLIENT_NO_BOARD,
			"there is no board %s; did you mean '%s'?", shown, near.best);
	return error_set(err, CLIENT_NO_BOARD, "there is no board %s, but %s", shown, names);
}

/* Those that are away do not count where one is there. */
static int pick_only(const struct boards *boards, struct pick *out, struct error *err)
{
	struct boards_board *there = NULL;
	size_t n = 0;
	char names[200];

	for (size_t i = 0; i < boards->n; i++) {
		if (!boards->list[i]->present)
			continue;
		there = boards->list[i];
		n++;
	}
	if (n == 0 && boards->n == 1)
		there = boards->list[0];
	list_names(boards, names, sizeof(names));
	if (boards->n == 0)
		return error_set(err, CLIENT_NO_BOARD,
			"no board is there; 'romount doctor' tells why one may be missing");
	if (n > 1 || !there)
		return error_set(err, CLIENT_NO_BOARD, "which board? there are %s", names);
	*out = (struct pick){.board = there};
	return 0;
}

int pick_board(struct client *c, const char *word, struct pick *out, struct error *err)
{
	int r;

	if (!word)
		return pick_only(client_boards(c), out, err);
	r = pick_try(c, word, out, err);
	if (r == 0)
		r = say_unknown(client_boards(c), word, err);
	return MIN(r, 0);
}

int pick_partition(struct client *c, const char *word, struct pick *out, struct error *err)
{
	int r = pick_board(c, word, out, err);

	return r < 0 ? r : pick_number(out, -1, err);
}
