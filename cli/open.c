/* SPDX-License-Identifier: MIT */
#include "cli/open.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "cli/cache.h"

struct subject {
	enum subject_kind kind;
	char *path;
	struct dev_session *session;
	struct dev_target *target;
	struct cache *cache;
	int signal_fd;
	sigset_t old_mask;
};

/* SIGINT and SIGTERM become readable on a descriptor that ends every wait: a board that
 * was interrupted in its work must be told to go on before the program ends. */
static int take_signals(struct subject *s, struct error *err)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, &s->old_mask);
	s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0) {
		int r = -errno;

		sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
		return error_set(err, r, "cannot watch signals: %s", strerror(-r));
	}
	return 0;
}

/* A signal that came has ended the session; it shall not end the program as well, before
 * that has said so. */
static void give_signals_back(struct subject *s)
{
	struct signalfd_siginfo came;

	if (s->signal_fd < 0)
		return;
	while (read(s->signal_fd, &came, sizeof(came)) > 0)
		;
	close(s->signal_fd);
	sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
}

static int open_port(struct subject *s, struct error *err)
{
	struct dev_session_options options = {0};
	int r = take_signals(s, err);

	if (r < 0)
		return r;
	options.cancel_fd = s->signal_fd;
	return dev_session_open(s->path, &options, &s->session, err);
}

static int find_kind(struct subject *s, struct error *err)
{
	struct stat st;

	if (stat(s->path, &st) < 0) {
		int r = -errno;

		if (r == -ENOENT && !strncmp(s->path, "/dev/", 5))
			return error_set(err, r,
				"there is no %s: is the board plugged in?", s->path);
		if (r == -ENOTCONN)
			return error_set(err, r,
				"the romount that showed %s has ended; 'fusermount3 -u' clears "
				"the folder",
				s->path);
		return error_set(err, r, "cannot open %s: %s", s->path, strerror(-r));
	}
	if (S_ISCHR(st.st_mode))
		s->kind = SUBJECT_PORT;
	else if (S_ISREG(st.st_mode))
		s->kind = SUBJECT_IMAGE;
	else if (S_ISDIR(st.st_mode))
		s->kind = SUBJECT_FOLDER;
	else
		return error_set(err, -EINVAL,
			"%s is neither a serial port nor an image file nor a folder",
			s->path);
	return 0;
}

int subject_open(const char *path, struct subject **out, struct error *err)
{
	_cleanup_(subject_closep) struct subject *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->signal_fd = -1;
	s->path = strdup(path);
	if (!s->path)
		return error_set(err, -ENOMEM, "out of memory");
	r = find_kind(s, err);
	if (r < 0)
		return r;
	if (s->kind == SUBJECT_PORT)
		r = open_port(s, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(s);
	return 0;
}

static void drop_target(struct subject *s)
{
	cache_free(s->cache);
	s->cache = NULL;
	dev_target_free(s->target);
	s->target = NULL;
}

int subject_close(struct subject *s, struct error *err)
{
	int r = 0;

	if (!s)
		return 0;
	drop_target(s);
	if (s->session)
		r = dev_session_close(s->session, err);
	give_signals_back(s);
	free(s->path);
	free(s);
	return r;
}

void subject_closep(struct subject **s)
{
	subject_close(*s, NULL);
}

enum subject_kind subject_kind(const struct subject *s)
{
	return s->kind;
}

const char *subject_path(const struct subject *s)
{
	return s->path;
}

const struct dev_board_info *subject_board(const struct subject *s)
{
	return s->session ? dev_session_info(s->session) : NULL;
}

static int open_target(struct subject *s, unsigned number, struct error *err)
{
	switch (s->kind) {
	case SUBJECT_PORT:
		return dev_session_target(s->session, number, &s->target, err);
	case SUBJECT_IMAGE:
		if (number != 0)
			return error_set(err, -ENODEV,
				"%s is an image file: it has no partition but 0",
				s->path);
		return dev_image_open(s->path, 0, false, &s->target, err);
	case SUBJECT_FOLDER:
		break;
	}
	return error_set(err, -EISDIR,
		"%s is a folder: name a serial port or an image file", s->path);
}

int subject_partition(struct subject *s, unsigned number,
	const struct dev_geometry **geometry, struct romfs_source *source,
	struct error *err)
{
	int r;

	drop_target(s);
	r = open_target(s, number, err);
	if (r == 0)
		r = cache_new(s->target, &s->cache, err);
	if (r < 0) {
		drop_target(s);
		return r;
	}
	*geometry = &s->target->geometry;
	*source = cache_source(s->cache);
	return 0;
}

struct dev_target *subject_target(struct subject *s)
{
	return s->target;
}

struct cache *subject_cache(struct subject *s)
{
	return s->cache;
}

int subject_image(struct subject *s, unsigned number, struct romfs_source *source,
	struct romfs_image **out, struct error *err)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	const struct dev_geometry *geometry;
	int r = subject_partition(s, number, &geometry, source, err);

	if (r == 0)
		r = romfs_parse(source, &image, err);
	if (r < 0)
		return r;
	if (image->status == ROMFS_BLANK)
		return error_set(
			err, -ENODATA, "%s is blank: it holds no file system", s->path);
	if (image->status != ROMFS_VALID)
		return error_set(err, -EBADMSG, "%s: %s", s->path, image->why.text);
	if (romfs_tree_sort(image->tree) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	*out = TAKE_PTR(image);
	return 0;
}

int subject_parse_number(const char *text, unsigned *out)
{
	char *end;
	unsigned long v;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || *end || v >= DEV_PARTITIONS_MAX)
		return -EINVAL;
	*out = (unsigned)v;
	return 0;
}
