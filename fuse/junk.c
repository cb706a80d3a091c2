/* SPDX-License-Identifier: MIT */
#include "fuse/junk.h"

#include <fnmatch.h>

#include "util/macros.h"

/* Patterns and where they come from. A pattern must be narrow: what it matches will be
 * missing on the board. */
static const char *const patterns[] = {
	".Trash",		/* freedesktop.org trash specification */
	".Trash-*",
	".DS_Store",		/* macOS Finder */
	"._*",
	".Spotlight-V100",
	".fseventsd",
	"Thumbs.db",		/* Windows Explorer */
	"desktop.ini",
	".directory",		/* KDE Dolphin */
	".goutputstream-*",	/* GLib's atomic save */
	".*.sw[a-p]",		/* vim swap files */
	".*.sw[a-p]x",
	"4913",			/* vim's test whether it may create files */
	"*~",			/* backups of vim, emacs, gedit */
	".#*",			/* emacs lock files */
	"#*#",			/* emacs auto-save */
	".~lock.*#",		/* LibreOffice */
	".fuse_hidden*",
	".nfs*",
	"*.kate-swp",
};

bool junk_name(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(patterns); i++)
		if (fnmatch(patterns[i], name, 0) == 0)
			return true;
	return false;
}
