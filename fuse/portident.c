/* SPDX-License-Identifier: MIT */
#include "fuse/portident.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LEVELS 4u /* from a tty up to its USB device: port, interface, device */
#define NAME_MAX_BYTES 64u
/* Shorter ones are those that bridge chips come with: CP2102 has "0001" from the factory. */
#define SERIAL_MIN 6u
#define SERIAL_MAX 126u /* characters of a USB string */

/* Graphic ASCII and single blanks between: nothing that could be taken for another line. */
static bool is_plain(const char *s, size_t min, size_t max)
{
	size_t n = strlen(s), i;

	if (n < min || n > max || s[0] == ' ' || s[n - 1] == ' ')
		return false;
	for (i = 0; i < n; i++)
		if (!isascii((unsigned char)s[i]) ||
			(!isgraph((unsigned char)s[i]) && s[i] != ' '))
			return false;
	return true;
}

bool portident_tells(const char *serial)
{
	return is_plain(serial, SERIAL_MIN, SERIAL_MAX);
}

void portident_usb(unsigned vendor, unsigned product, unsigned interface,
	const char *serial, char out[PORTIDENT_SIZE])
{
	snprintf(out, PORTIDENT_SIZE, "usb %04x:%04x if%02x %s", vendor, product, interface,
		serial);
}

/* One line without its end. */
static int read_attribute(const char *dir, const char *name, char *out, size_t cap)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	n = read(fd, out, cap - 1);
	if (n < 0)
		return -errno;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

static bool is_hex(const char *s, size_t digits)
{
	return strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

/* The USB interface's number on the way up, and the device above it. */
static int identify_usb(char *dir, char out[PORTIDENT_SIZE])
{
	char interface[8] = "", vendor[8], product[8], serial[SERIAL_MAX + 2];
	unsigned i;

	for (i = 0; i < LEVELS; i++) {
		char *slash = strrchr(dir, '/');

		if (!interface[0] &&
			read_attribute(dir, "bInterfaceNumber", interface, sizeof(interface)) < 0)
			interface[0] = '\0';
		if (read_attribute(dir, "idVendor", vendor, sizeof(vendor)) == 0)
			break;
		if (!slash || slash == dir)
			return -ENOENT;
		*slash = '\0';
	}
	if (i == LEVELS || !is_hex(interface, 2) || !is_hex(vendor, 4) ||
		read_attribute(dir, "idProduct", product, sizeof(product)) < 0 ||
		!is_hex(product, 4) ||
		read_attribute(dir, "serial", serial, sizeof(serial)) < 0 ||
		!portident_tells(serial))
		return -ENOENT;
	portident_usb((unsigned)strtoul(vendor, NULL, 16), (unsigned)strtoul(product, NULL, 16),
		(unsigned)strtoul(interface, NULL, 16), serial, out);
	return 0;
}

int portident_of(
	const char *sysfs, const char *path, const char *name, char out[PORTIDENT_SIZE])
{
	char link[PATH_MAX], dir[PATH_MAX];
	struct stat st;

	if (name) {
		if (!is_plain(name, 1, NAME_MAX_BYTES))
			return -EINVAL;
		snprintf(out, PORTIDENT_SIZE, "id %s", name);
		return 0;
	}
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENOENT;
	if (snprintf(link, sizeof(link), "%s/dev/char/%u:%u/device", sysfs, major(st.st_rdev),
		    minor(st.st_rdev)) >= (int)sizeof(link))
		return -ENAMETOOLONG;
	if (!realpath(link, dir))
		return -ENOENT;
	return identify_usb(dir, out);
}
