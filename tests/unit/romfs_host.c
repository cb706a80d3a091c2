/* SPDX-License-Identifier: MIT */
#include "romfs_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct romfs_align aligns[] = {{"*.bin", 32}};
const struct romfs_pack_options host_options = {
	.aligns = aligns, .n_aligns = ARRAY_SIZE(aligns), .notes = true};

void host_init(struct host *h, struct sim *sim, int next_fd)
{
	*h = (struct host){.sim = sim, .next_fd = next_fd, .goal = ROMFS_SAVE};
}

void host_done(struct host *h)
{
	romfs_tree_free(h->wanted);
	h->wanted = NULL;
}

/* --- plans --------------------------------------------------------------------------- */

static const struct model_entry *same_content(
	const struct model *there, const struct model_entry *e, unsigned hint)
{
	const struct model_entry *twin = hint < there->n ? &there->v[hint] : NULL;

	if (!twin || strcmp(twin->path, e->path) != 0)
		twin = model_find(there, e->path);
	if (twin && !twin->dir && twin->seed == e->seed && twin->size == e->size)
		return twin;
	for (unsigned k = 0; k < there->n; k++)
		if (!there->v[k].dir && there->v[k].seed == e->seed &&
			there->v[k].size == e->size)
			return &there->v[k];
	return NULL;
}

/* Files that stand on flash with the same bytes stay there, under this or another name. */
static void place_known(const struct host *h, struct romfs_tree *tree,
	const struct model *m, const struct model *there, const struct romfs_image *image)
{
	for (uint32_t i = 1; i < romfs_tree_count(tree); i++) {
		struct romfs_node *n = romfs_tree_node(tree, i);
		const struct model_entry *e = &m->v[n->user], *twin;
		uint32_t k;

		if (e->dir || (h->rewritten && strcmp(h->rewritten, e->path) == 0))
			continue;
		twin = same_content(there, e, (unsigned)n->user);
		if (!twin || (h->forgetful && strcmp(twin->path, e->path) == 0 && i % 2))
			continue;
		k = romfs_tree_lookup(image->tree, twin->path);
		if (k == ROMFS_NO_NODE)
			case_fail("%s is not in the image", twin->path);
		n->data_off = romfs_tree_node(image->tree, k)->data_off;
	}
}

static int plan(struct host *h, enum romfs_goal goal, const struct model *there,
	const struct model *m, struct step *out)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct romfs_flash flash = {.source = sim_source(h->sim),
		.erases = h->sim->erases,
		.bad = h->sim->bad};
	struct romfs_plan *made;
	struct error err = {0};
	int r;

	r = romfs_parse(&flash.source, &image, &err);
	if (r < 0 && r != -ENODATA)
		case_fail("flash cannot be parsed: %s", err.text);
	flash.image = image;
	host_done(h);
	h->tidied = goal == ROMFS_TIDY;
	h->wanted = model_tree(m);
	if (there && image && image->status == ROMFS_VALID)
		place_known(h, h->wanted, m, there, image);
	r = romfs_plan(&h->sim->g, &flash, goal, h->wanted, &host_options, model_content,
		(void *)(uintptr_t)m, h->next_fd, &made, &err);
	if (r == 0) {
		step_init(out, h->sim, made, goal, h->next_fd);
		return 1;
	}
	if (r != -ENOSPC)
		case_fail("goal %d gives %s: %s", goal, strerror(-r), err.text);
	return r;
}

static void expect_way(const struct step *t)
{
	static const bool fits[][5] = {
		[ROMFS_SAVE] = {true, false, true, true, false},
		[ROMFS_REWRITE] = {true, false, true, true, true},
		[ROMFS_TIDY] = {true, true, true, true, false},
		[ROMFS_PACK] = {true, false, false, false, true},
	};

	if (!fits[t->goal][t->plan->way])
		case_fail("goal %d is reached by way %d", t->goal, t->plan->way);
}

int host_tidy(struct host *h, const struct model *there, struct step *out)
{
	int r = plan(h, ROMFS_TIDY, there, there, out);

	if (r < 0)
		return r;
	expect_way(out);
	if (out->plan->n_ops)
		return 1;
	step_done(out);
	return 0;
}

/* Each round gains a block, or moves data that later ones need not move again. */
static int tidy_on(struct host *h, const struct model *there, struct step *out)
{
	int r = there ? host_tidy(h, there, out) : 0;

	if (r > 0) {
		h->goal = ROMFS_SAVE;
		if (++h->tidies > 4 * h->sim->blocks + 8)
			case_fail("tidying never ends");
		return r;
	}
	h->goal = ROMFS_REWRITE;
	return 0;
}

int host_next(struct host *h, const struct model *there, const struct model *m,
	struct step *out)
{
	int r;

	if (h->done)
		return 0;
	r = plan(h, h->goal, there, m, out);
	if (r == -ENOSPC && h->goal == ROMFS_SAVE) {
		r = tidy_on(h, there, out);
		if (r)
			return r;
		r = plan(h, h->goal, there, m, out);
	}
	if (r < 0)
		return r;
	expect_way(out);
	h->done = true;
	if (out->plan->n_ops)
		return 1;
	step_done(out);
	return 0;
}

/* --- what is there -------------------------------------------------------------------- */

struct sight sight_of(const struct model *m)
{
	struct sight s = {.n = m->n};

	for (unsigned i = 0; i < m->n; i++) {
		const struct model_entry *e = &m->v[i];
		uint8_t *data = e->dir ? NULL : malloc(e->size + 1);

		if (data)
			model_bytes(e, 0, data, e->size);
		s.digest += view_entry(e->path, data, e->dir ? 0 : e->size);
		free(data);
	}
	return s;
}

bool sight_is(const struct view *v, struct sight s)
{
	return v->mounted && !v->wrong && v->n == s.n && v->digest == s.digest;
}

static void expect_entry(
	const struct host *h, const struct romfs_image *image, uint32_t i, bool notes)
{
	const struct romfs_node *want = romfs_tree_node(h->wanted, i), *have;
	char path[256];
	uint32_t k;

	romfs_tree_path(h->wanted, i, path, sizeof(path));
	k = romfs_tree_lookup(image->tree, path);
	if (k == ROMFS_NO_NODE)
		case_fail("%s is not in the image", path);
	have = romfs_tree_node(image->tree, k);
	if (have->size && have->data_off != want->data_off)
		case_fail("%s stands at %llu, the plan says %llu", path,
			(unsigned long long)have->data_off,
			(unsigned long long)want->data_off);
	if (have->size && !h->tidied &&
		have->data_off % romfs_pack_align(&host_options, h->wanted, i) != 0)
		case_fail("%s is not aligned", path);
	if (notes && have->mtime_ns != want->mtime_ns)
		case_fail("%s has lost its time", path);
}

void host_expect(const struct host *h, const struct model *m, bool notes)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct romfs_buffer buffer = {h->sim->b, h->sim->g.size};
	struct romfs_source source = romfs_source_buffer(&buffer);
	struct view v;

	if (romfs_parse(&source, &image, NULL) < 0)
		abort();
	if (m->n == 0 && image->status == ROMFS_BLANK)
		return;
	for (unsigned wide = 0; wide < 2; wide++) {
		view_flash(h->sim->b, h->sim->g.size, wide, NULL, &v);
		if (!sight_is(&v, sight_of(m)))
			case_fail("a board sees another tree: %s",
				v.wrong ? v.wrong : "it is sound");
	}
	if (image->status != ROMFS_VALID || romfs_tree_count(image->tree) != m->n + 1 ||
		image->skipped_entries)
		case_fail("the parser sees another tree: %s", image->why.text);
	if (v.walk > 65 && image->records_before_root > 0)
		case_fail("%u records are walked", v.walk);
	for (uint32_t i = 0; h->wanted && i < romfs_tree_count(h->wanted); i++)
		expect_entry(h, image, i, notes);
}

uint64_t host_reckon(const struct sim *s, const struct model *m)
{
	_cleanup_(romfs_tree_freep) struct romfs_tree *tree = model_tree(m);
	uint64_t sum = romfs_plan_overhead(&s->g);

	for (uint32_t i = 1; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);
		uint32_t align = n->type == ROMFS_FILE
					 ? romfs_pack_align(&host_options, tree, i)
					 : 1;

		sum += romfs_plan_entry_bytes(
			(enum romfs_type)n->type, n->name_len, n->size, align);
	}
	return sum;
}

uint64_t host_number(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);
	uint64_t n = text ? strtoull(text, NULL, 10) : fallback;

	return MAX(n, 1);
}
