/* SPDX-License-Identifier: MIT */
#include "cli/occupancy.h"

#include <errno.h>
#include <string.h>

#include "cli/cache.h"

/* --- which of the free space is blank ------------------------------------------------- */

/* The library tells by its reads what it has to know, and reads it again in the same order
 * when the board has been asked about all of it at once. */
struct asking {
	struct cache *cache;
	struct dev_extent *asked;
	bool *blank; /* by index in `asked`; NULL: not asked yet */
	size_t n, cap, at;
};

static void asking_done(struct asking *a)
{
	free(a->asked);
	free(a->blank);
}

static int note_down(struct asking *a, uint64_t off, size_t len, struct error *err)
{
	if (a->n == a->cap) {
		size_t cap = a->cap ? a->cap * 2 : 64;
		struct dev_extent *more = reallocarray(a->asked, cap, sizeof(*more));

		if (!more)
			return error_set(err, -ENOMEM, "out of memory");
		a->asked = more;
		a->cap = cap;
	}
	a->asked[a->n++] = (struct dev_extent){.off = off, .len = len};
	return -ENODATA;
}

static int read_known(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct asking *a = ctx;

	if (cache_known(a->cache, off, buf, len))
		return 0;
	if (!a->blank)
		return note_down(a, off, len, err);
	while (a->at < a->n && a->asked[a->at].off < off)
		a->at++;
	if (a->at == a->n || a->asked[a->at].off != off || a->asked[a->at].len != len ||
		!a->blank[a->at])
		return -ENODATA;
	memset(buf, 0xFF, len);
	return 0;
}

static int is_blank(uint64_t len, const uint8_t digest[SHA256_SIZE])
{
	_cleanup_free_ uint8_t *buf = malloc(len);
	uint8_t want[SHA256_SIZE];

	if (!buf)
		return -ENOMEM;
	memset(buf, 0xFF, len);
	sha256_of(buf, len, want);
	return memcmp(want, digest, SHA256_SIZE) == 0;
}

static int ask_board(struct asking *a, struct dev_target *target, struct error *err)
{
	_cleanup_free_ uint8_t (*digests)[SHA256_SIZE] = calloc(a->n + 1, sizeof(*digests));
	int r;

	a->blank = calloc(a->n + 1, sizeof(*a->blank));
	if (!digests || !a->blank)
		return error_set(err, -ENOMEM, "out of memory");
	r = a->n ? dev_target_hash_list(target, a->asked, a->n, digests, err) : 0;
	for (size_t i = 0; i < a->n && r >= 0; i++) {
		r = is_blank(a->asked[i].len, digests[i]);
		a->blank[i] = r > 0;
	}
	return r < 0 ? error_set(err, r, "out of memory") : 0;
}

/* --- the layout ------------------------------------------------------------------------ */

/* A walk reads up to the byte at which the data of a file begins that stands behind its own
 * name; what a pointer leads to is not read. */
static bool stands_behind_name(const struct romfs_image *image, uint64_t data_off)
{
	size_t low = 0, high = image->n_meta;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint64_t end = image->meta[mid].off + image->meta[mid].len;

		if (end == data_off)
			return true;
		if (end < data_off)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

static enum occupancy_form form_of(
	const struct romfs_image *image, const struct romfs_usage *usage)
{
	if (image->status != ROMFS_VALID)
		return OCCUPANCY_NONE;
	if (usage->append)
		return OCCUPANCY_APPEND;
	for (uint32_t i = 0; i < romfs_tree_count(image->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(image->tree, i);

		if (n->type == ROMFS_FILE && n->size &&
			!stands_behind_name(image, n->data_off))
			return OCCUPANCY_LAID_OUT;
	}
	return OCCUPANCY_PACKED;
}

int occupancy_of(struct subject *s, const struct romfs_image *image, bool ask,
	struct occupancy *out, struct error *err)
{
	_cleanup_(asking_done) struct asking a = {.cache = subject_cache(s)};
	struct dev_target *target = subject_target(s);
	const struct dev_geometry *g = &target->geometry;
	bool is_file = g->kind == DEV_TARGET_IMAGE;
	const struct romfs_geometry geometry = {
		.size = g->size,
		.erase_block = g->erase_block,
		.write_unit = g->write_unit,
		.no_erase = g->no_erase,
		.prefix_erase = g->prefix_erase,
		.twice = g->twice != DEV_TWICE_NO, /* what stands there was possible */
	};
	struct romfs_flash now = {.image = image,
		.source = is_file ? cache_source(subject_cache(s))
				  : (struct romfs_source){
					    .read = read_known, .ctx = &a, .size = g->size}};
	/* What is no whole number of blocks was built to be read. */
	bool has_room = g->size % g->erase_block == 0;
	int r = has_room ? romfs_usage(&geometry, &now, &out->usage, err) : 0;

	if (r == 0 && has_room && !is_file && ask) {
		r = ask_board(&a, target, err);
		if (r == 0)
			r = romfs_usage(&geometry, &now, &out->usage, err);
	}
	if (r < 0)
		return r;
	out->knows_blank = has_room && (is_file || ask || g->no_erase);
	out->form = form_of(image, &out->usage);
	return 0;
}

const char *occupancy_form_name(enum occupancy_form form)
{
	static const char *const names[] = {"none", "append", "laid out", "packed"};

	return names[form];
}

/* --- wear ------------------------------------------------------------------------------ */

int occupancy_wear(int state_fd, const struct dev_geometry *g, struct occupancy_wear *out)
{
	_cleanup_(wear_freep) struct wear *wear = NULL;
	struct occupancy_wear o = {0};
	const uint32_t *erases;
	const uint8_t *bad;
	int r = wear_open(state_fd, g->size, g->erase_block, &wear);

	if (r < 0)
		return r;
	erases = wear_erases(wear);
	bad = wear_bad(wear);
	o.blocks = g->size / g->erase_block;
	for (uint64_t i = 0; i < o.blocks; i++) {
		o.erases += erases[i];
		o.set_aside += bad[i] != 0;
		if (erases[i] > erases[o.most])
			o.most = i;
		if (erases[i] < erases[o.least])
			o.least = i;
	}
	o.most_erases = erases[o.most];
	o.least_erases = erases[o.least];
	if (o.erases || o.set_aside)
		o.wear = TAKE_PTR(wear);
	*out = o;
	return 0;
}

void occupancy_wear_done(struct occupancy_wear *w)
{
	wear_free(w->wear);
	w->wear = NULL;
}
