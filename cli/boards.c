/* SPDX-License-Identifier: MIT */
#include "cli/boards.h"

#include <errno.h>
#include <string.h>

#include "bus/names.h"
#include "bus/wire.h"

static const struct wire_field board_fields[] = {
	WIRE_TEXT("Name", struct boards_board, name),
	WIRE_BOOL("Present", struct boards_board, present),
	WIRE_TEXT("Port", struct boards_board, port),
	WIRE_TEXT("State", struct boards_board, state),
	WIRE_TEXT("Error", struct boards_board, error),
	WIRE_TEXT("Machine", struct boards_board, machine),
	WIRE_TEXT("Firmware", struct boards_board, firmware),
	WIRE_TEXT("UniqueId", struct boards_board, unique_id),
	WIRE_TEXT("UsbId", struct boards_board, usb_id),
	WIRE_TEXT("Serial", struct boards_board, serial),
	WIRE_TEXT("Directory", struct boards_board, directory),
	WIRE_U32("Owner", struct boards_board, owner),
	WIRE_U32("Pid", struct boards_board, pid),
};

static const struct wire_field partition_fields[] = {
	WIRE_U32("Number", struct boards_partition, number),
	WIRE_TEXT("Mount", struct boards_partition, mount),
	WIRE_U64("Size", struct boards_partition, size),
	WIRE_U64("Used", struct boards_partition, used),
	WIRE_U64("Free", struct boards_partition, free),
	WIRE_U64("Pending", struct boards_partition, pending),
	WIRE_U32("PendingFiles", struct boards_partition, pending_files),
	WIRE_TEXT("State", struct boards_partition, state),
	WIRE_TEXT("Error", struct boards_partition, error),
	WIRE_TEXT("Job", struct boards_partition, job),
	WIRE_U64("Done", struct boards_partition, done),
	WIRE_U64("Total", struct boards_partition, total),
	WIRE_TEXT("Kind", struct boards_partition, kind),
	WIRE_U64("EraseBlock", struct boards_partition, erase_block),
	WIRE_U64("WriteUnit", struct boards_partition, write_unit),
	WIRE_U64("Address", struct boards_partition, address),
	WIRE_BOOL("HasAddress", struct boards_partition, has_address),
	WIRE_TEXT("Image", struct boards_partition, image),
};

/* --- finding ------------------------------------------------------------------------ */

bool boards_is_below(const char *path, const char *board_path)
{
	size_t len = strlen(board_path);

	return !strncmp(path, board_path, len) && (path[len] == '\0' || path[len] == '/');
}

struct boards_board *boards_find(const struct boards *b, const char *name)
{
	for (size_t i = 0; i < b->n; i++)
		if (!strcmp(b->list[i]->name, name))
			return b->list[i];
	return NULL;
}

struct boards_partition *boards_partition(const struct boards_board *b, unsigned number)
{
	for (size_t i = 0; i < b->n_partitions; i++)
		if (b->partitions[i]->number == number)
			return b->partitions[i];
	return NULL;
}

uint64_t boards_pending(const struct boards_board *b)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < b->n_partitions; i++)
		sum += b->partitions[i]->pending;
	return sum;
}

struct boards_board *boards_at(const struct boards *b, unsigned link, const char *path)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->list[i]->link == link && boards_is_below(path, b->list[i]->path))
			return b->list[i];
	return NULL;
}

static struct boards_partition *partition_at(struct boards_board *b, const char *path)
{
	for (size_t i = 0; i < b->n_partitions; i++)
		if (!strcmp(b->partitions[i]->path, path))
			return b->partitions[i];
	return NULL;
}

/* --- coming and going --------------------------------------------------------------- */

static void partition_free(struct boards_partition *p)
{
	free(p->path);
	free(p);
}

static void board_free(struct boards_board *b)
{
	for (size_t i = 0; i < b->n_partitions; i++)
		partition_free(b->partitions[i]);
	free(b->partitions);
	free(b->path);
	free(b);
}

void boards_clear(struct boards *b)
{
	for (size_t i = 0; i < b->n; i++)
		board_free(b->list[i]);
	free(b->list);
	*b = (struct boards){0};
}

static int by_name(const void *a, const void *b)
{
	const struct boards_board *x = *(struct boards_board *const *)a;
	const struct boards_board *y = *(struct boards_board *const *)b;
	int r = strverscmp(x->name, y->name);

	return r ? r : (x->link > y->link) - (x->link < y->link);
}

static int by_number(const void *a, const void *b)
{
	const struct boards_partition *x = *(struct boards_partition *const *)a;
	const struct boards_partition *y = *(struct boards_partition *const *)b;

	return (x->number > y->number) - (x->number < y->number);
}

static void sort(struct boards *b)
{
	if (b->n)
		qsort(b->list, b->n, sizeof(*b->list), by_name);
	for (size_t i = 0; i < b->n; i++)
		if (b->list[i]->n_partitions)
			qsort(b->list[i]->partitions, b->list[i]->n_partitions,
				sizeof(*b->list[i]->partitions), by_number);
}

static struct boards_board *add_board(struct boards *b, unsigned link, const char *path)
{
	struct boards_board **more = reallocarray(b->list, b->n + 1, sizeof(*more));
	struct boards_board *board;

	if (!more)
		return NULL;
	b->list = more;
	board = calloc(1, sizeof(*board));
	if (!board)
		return NULL;
	board->link = link;
	board->path = strdup(path);
	if (!board->path) {
		free(board);
		return NULL;
	}
	return more[b->n++] = board;
}

static struct boards_partition *add_partition(struct boards_board *b, const char *path)
{
	struct boards_partition **more =
		reallocarray(b->partitions, b->n_partitions + 1, sizeof(*more));
	struct boards_partition *p;

	if (!more)
		return NULL;
	b->partitions = more;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->board = b;
	p->path = strdup(path);
	if (!p->path) {
		free(p);
		return NULL;
	}
	return more[b->n_partitions++] = p;
}

static void remove_board(struct boards *b, struct boards_board *board)
{
	size_t i = 0;

	while (b->list[i] != board)
		i++;
	memmove(&b->list[i], &b->list[i + 1], (b->n - i - 1) * sizeof(*b->list));
	b->n--;
	memcpy(b->gone, board->name, sizeof(b->gone));
	board_free(board);
}

static void remove_partition(struct boards_board *b, struct boards_partition *p)
{
	size_t i = 0;

	while (b->partitions[i] != p)
		i++;
	memmove(&b->partitions[i], &b->partitions[i + 1],
		(b->n_partitions - i - 1) * sizeof(*b->partitions));
	b->n_partitions--;
	partition_free(p);
}

/* --- reading ------------------------------------------------------------------------ */

/* Which object a message is about. */
struct place {
	struct boards *boards;
	unsigned link;
	const char *path;
};

static int bad_message(struct error *err)
{
	return error_set(err, -EBADMSG, "romountd has sent a damaged message");
}

static int read_board(const struct place *at, sd_bus_message *m,
	struct boards_board **out, struct error *err)
{
	struct boards_board *b = boards_at(at->boards, at->link, at->path);

	if (!b)
		b = add_board(at->boards, at->link, at->path);
	if (!b)
		return error_set(err, -ENOMEM, "out of memory");
	*out = b;
	return wire_read(m, board_fields, ARRAY_SIZE(board_fields), b, NULL, err);
}

/* A partition may be told of before its board: the board is what stands in the path. */
static int read_partition(const struct place *at, sd_bus_message *m,
	struct boards_partition **out, struct error *err)
{
	struct boards_board *b = boards_at(at->boards, at->link, at->path);
	struct boards_partition *p = b ? partition_at(b, at->path) : NULL;
	const char *end = strrchr(at->path, '/');

	if (!b && end) {
		_cleanup_free_ char *path = strndup(at->path, (size_t)(end - at->path));

		b = path ? add_board(at->boards, at->link, path) : NULL;
	}
	if (b && !p)
		p = add_partition(b, at->path);
	if (!p)
		return error_set(err, -ENOMEM, "out of memory");
	*out = p;
	return wire_read(m, partition_fields, ARRAY_SIZE(partition_fields), p, NULL, err);
}

/* Interfaces of other kinds are skipped. 1: something was read. */
static int read_interface(const struct place *at, const char *interface, sd_bus_message *m,
	struct boards_board **board, struct boards_partition **partition, struct error *err)
{
	int r;

	if (!strcmp(interface, BUS_BOARD))
		r = read_board(at, m, board, err);
	else if (!strcmp(interface, BUS_PARTITION))
		r = read_partition(at, m, partition, err);
	else
		return sd_bus_message_skip(m, "a{sv}") < 0 ? bad_message(err) : 0;
	return r < 0 ? r : 1;
}

/* a{sa{sv}} */
static int read_interfaces(const struct place *at, sd_bus_message *m,
	struct boards_board **board, struct boards_partition **partition, struct error *err)
{
	int r, any = 0;

	if (sd_bus_message_enter_container(m, 'a', "{sa{sv}}") < 0)
		return bad_message(err);
	while ((r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
		const char *interface;

		if (sd_bus_message_read_basic(m, 's', &interface) <= 0)
			return bad_message(err);
		r = read_interface(at, interface, m, board, partition, err);
		if (r < 0)
			return r;
		any |= r;
		if (sd_bus_message_exit_container(m) < 0)
			return bad_message(err);
	}
	if (r < 0 || sd_bus_message_exit_container(m) < 0)
		return bad_message(err);
	return any;
}

int boards_take_all(
	struct boards *b, unsigned link, sd_bus_message *reply, struct error *err)
{
	struct boards_board *board;
	struct boards_partition *partition;
	int r;

	if (sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}") < 0)
		return bad_message(err);
	while ((r = sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}")) > 0) {
		struct place at = {.boards = b, .link = link};

		if (sd_bus_message_read_basic(reply, 'o', &at.path) <= 0)
			return bad_message(err);
		r = read_interfaces(&at, reply, &board, &partition, err);
		if (r < 0)
			return r;
		if (sd_bus_message_exit_container(reply) < 0)
			return bad_message(err);
	}
	if (r < 0)
		return bad_message(err);
	sort(b);
	return 0;
}

/* --- signals ------------------------------------------------------------------------ */

static int take_added(struct place *at, sd_bus_message *m, struct boards_board **board,
	struct boards_partition **partition, struct error *err)
{
	if (sd_bus_message_read_basic(m, 'o', &at->path) <= 0)
		return bad_message(err);
	return read_interfaces(at, m, board, partition, err);
}

static int take_removed(struct place *at, sd_bus_message *m, struct boards_board **board,
	struct boards_partition **partition, struct error *err)
{
	struct boards_board *b;
	struct boards_partition *p;

	if (sd_bus_message_read_basic(m, 'o', &at->path) <= 0)
		return bad_message(err);
	b = boards_at(at->boards, at->link, at->path);
	if (!b)
		return 0;
	p = partition_at(b, at->path);
	if (p) {
		remove_partition(b, p);
		*board = b;
	} else {
		remove_board(at->boards, b);
	}
	return 1;
}

static int take_changed(struct place *at, sd_bus_message *m, struct boards_board **board,
	struct boards_partition **partition, struct error *err)
{
	struct boards_board *b = boards_at(at->boards, at->link, at->path);
	const char *interface;

	if (sd_bus_message_read_basic(m, 's', &interface) <= 0)
		return bad_message(err);
	/* Of an object that is not told of yet, or no more: its InterfacesAdded has it all. */
	if (!b)
		return 0;
	if (!strcmp(interface, BUS_PARTITION) ? !partition_at(b, at->path)
					      : strcmp(at->path, b->path) != 0)
		return 0;
	return read_interface(at, interface, m, board, partition, err);
}

int boards_take_signal(struct boards *b, unsigned link, sd_bus_message *signal,
	struct boards_board **board, struct boards_partition **partition, struct error *err)
{
	struct place at = {
		.boards = b, .link = link, .path = sd_bus_message_get_path(signal)};
	static const char objects[] = "org.freedesktop.DBus.ObjectManager";
	int r = 0;

	*board = NULL;
	*partition = NULL;
	if (sd_bus_message_is_signal(signal, objects, "InterfacesAdded"))
		r = take_added(&at, signal, board, partition, err);
	else if (sd_bus_message_is_signal(signal, objects, "InterfacesRemoved"))
		r = take_removed(&at, signal, board, partition, err);
	else if (sd_bus_message_is_signal(
			 signal, "org.freedesktop.DBus.Properties", "PropertiesChanged"))
		r = take_changed(&at, signal, board, partition, err);
	if (r > 0 && *partition)
		*board = (*partition)->board;
	if (r > 0)
		sort(b);
	return r;
}
