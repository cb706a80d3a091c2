/* SPDX-License-Identifier: MIT */
/* Drives libdev by hand: opens a port, tells what the board is, and runs the operations
 * given, each on partition N (-p, default 0).
 *
 *   devprobe [-v] [-n] [-p N] [-b BAUD] [-s MS] [-k FILE] PORT [info]
 *            [read OFF LEN FILE] [hash OFF LEN STEP] [hashes OFF,LEN,OFF,LEN...]
 *            [erase OFF LEN] [program OFF FILE] [twice OFF] [sleep MS] [time] [known]
 *
 * -n: no agent. -v: what goes over the line. -s: the board's patience with a silent host.
 * -k: what is known of the board, which `known` writes there. `time` prints how long the
 * last operation took. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libdev/known.h"
#include "libdev/session.h"
#include "util/clock.h"
#include "util/io.h"

static void print_log(void *data, int level, const char *text)
{
	fprintf(stderr, "%" PRIu64 " <%d> %s\n", clock_ms() % 100000, level, text);
}

static void print_info(const struct dev_board_info *i)
{
	printf("implementation %s\nfirmware %s\nmachine %s\nplatform %s\nunique_id %s\n"
	       "mpy %u\nheap_free %" PRIu64 "\n", i->implementation, i->firmware, i->machine,
		i->platform, i->unique_id, i->mpy, i->heap_free);
	printf("has deflate=%d hashlib=%d binascii=%d stdin_buffer=%d raw_paste=%d "
	       "rom_ioctl=%d\nsegments %d\n", i->has_deflate, i->has_hashlib,
		i->has_binascii, i->has_stdin_buffer, i->has_raw_paste, i->has_rom_ioctl,
		i->segments);
	for (unsigned n = 0; n < i->n_partitions; n++) {
		const struct dev_geometry *g = &i->partitions[n];

		printf("rom%u %s size %" PRIu64 " erase %u write %u%s%s address %" PRIx64
		       " erase_ms %u program_ms %u\n", g->number,
			dev_target_kind_name(g->kind), g->size, g->erase_block, g->write_unit,
			g->no_erase ? " no_erase" : "", g->prefix_erase ? " prefix" : "",
			g->has_address ? g->address : 0, g->erase_ms_max, g->program_ms_max);
	}
}

static const char *known_file;

static int write_known(struct dev_session *s, unsigned number)
{
	static struct dev_known k;
	_cleanup_fclose_ FILE *f = fopen(known_file, "w");
	int r = dev_session_known(s, number, &k);

	return r < 0 ? r : f ? dev_known_write(f, &k) : -5;
}

static const struct dev_known *read_known(void)
{
	static struct dev_known k;
	_cleanup_fclose_ FILE *f = known_file ? fopen(known_file, "r") : NULL;

	return f && dev_known_read(f, &k) == 0 ? &k : NULL;
}

static int do_read(struct dev_target *t, char **a, struct error *err)
{
	size_t len = strtoul(a[1], NULL, 0);
	_cleanup_free_ char *buf = malloc(len + 1);
	_cleanup_fclose_ FILE *f = fopen(a[2], "wb");
	int r = buf && f ? dev_target_read(t, strtoul(a[0], NULL, 0), buf, len, err) : -12;

	if (r == 0 && fwrite(buf, 1, len, f) != len)
		r = -5;
	return r;
}

static void print_hash(uint64_t off, const uint8_t *hash)
{
	printf("%08" PRIx64 " ", off);
	for (unsigned k = 0; k < SHA256_SIZE; k++)
		printf("%02x", hash[k]);
	putchar('\n');
}

static int do_hash(struct dev_target *t, char **a, struct error *err)
{
	uint64_t off = strtoul(a[0], NULL, 0), len = strtoul(a[1], NULL, 0);
	uint64_t step = strtoul(a[2], NULL, 0), n = step ? (len + step - 1) / step : 0;
	_cleanup_free_ uint8_t(*out)[SHA256_SIZE] = calloc(n + 1, SHA256_SIZE);
	int r = out ? dev_target_hash(t, off, len, step, out, err) : -12;

	for (uint64_t i = 0; r == 0 && i < n; i++)
		print_hash(off + i * step, out[i]);
	return r;
}

static int do_hashes(struct dev_target *t, char **a, struct error *err)
{
	static uint8_t out[1000][SHA256_SIZE];
	static struct dev_extent v[1000];
	size_t n = 0;
	char *p = a[0];
	int r;

	for (; *p && n < ARRAY_SIZE(v); n++) {
		v[n].off = strtoul(p, &p, 0);
		p += *p == ',';
		v[n].len = strtoul(p, &p, 0);
		p += *p == ',';
	}
	r = dev_target_hash_list(t, v, n, out, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		print_hash(v[i].off, out[i]);
	return r;
}

static int do_twice(struct dev_target *t, char **a, struct error *err)
{
	bool twice = false;
	int r = dev_target_probe_twice(t, strtoul(a[0], NULL, 0), &twice, err);

	if (r == 0)
		printf("twice %s, by the table %d\n", twice ? "yes" : "no", t->geometry.twice);
	return r;
}

/* Leaves the board alone for a while, without closing. */
static int do_sleep(struct dev_target *t, char **a, struct error *err)
{
	struct timespec ts = {.tv_sec = strtol(a[0], NULL, 10) / 1000,
		.tv_nsec = strtol(a[0], NULL, 10) % 1000 * 1000000};

	fflush(stdout);
	nanosleep(&ts, NULL);
	return 0;
}

static int do_program(struct dev_target *t, char **a, struct error *err)
{
	_cleanup_fclose_ FILE *f = fopen(a[1], "rb");
	_cleanup_free_ char *buf = malloc(64u << 20);
	size_t len = f && buf ? fread(buf, 1, 64u << 20, f) : 0;

	return len ? dev_target_program(t, strtoul(a[0], NULL, 0), buf, len, err) : -5;
}

static int do_erase(struct dev_target *t, char **a, struct error *err)
{
	return dev_target_erase(t, strtoul(a[0], NULL, 0), strtoul(a[1], NULL, 0), err);
}

static const struct {
	const char *name;
	int args;
	int (*run)(struct dev_target *t, char **args, struct error *err);
} commands[] = {
	{"read", 3, do_read}, {"hash", 3, do_hash}, {"erase", 2, do_erase},
	{"program", 2, do_program}, {"hashes", 1, do_hashes}, {"twice", 1, do_twice},
	{"sleep", 1, do_sleep},
};

static int run(struct dev_session *s, unsigned number, char **argv, int argc,
	struct error *err)
{
	_cleanup_(dev_target_freep) struct dev_target *t = NULL;
	uint64_t start = clock_ms(), took = 0;
	int r = 0;

	for (int i = 0; i < argc && r == 0; i++) {
		if (strcmp(argv[i], "info") == 0) {
			print_info(dev_session_info(s));
			continue;
		}
		if (strcmp(argv[i], "known") == 0) {
			r = write_known(s, number);
			continue;
		}
		if (strcmp(argv[i], "time") == 0) {
			printf("%" PRIu64 " ms\n", took);
			continue;
		}
		if (!t)
			r = dev_session_target(s, number, &t, err);
		for (size_t c = 0; r == 0 && c < ARRAY_SIZE(commands); c++) {
			if (strcmp(argv[i], commands[c].name) != 0 ||
				i + commands[c].args >= argc)
				continue;
			start = clock_ms();
			r = commands[c].run(t, argv + i + 1, err);
			took = clock_ms() - start;
			i += commands[c].args;
			break;
		}
	}
	return r;
}

int main(int argc, char **argv)
{
	struct log_sink sink = {.write = print_log};
	struct dev_session_options options = {.cancel_fd = -1};
	struct dev_session *s = NULL;
	struct error err = {0}, close_err = {0};
	unsigned number = 0;
	uint64_t in, out;
	int opt, r;

	while ((opt = getopt(argc, argv, "+vnp:b:k:s:")) != -1) {
		if (opt == 'v')
			options.log = &sink;
		else if (opt == 'n')
			options.no_agent = true;
		else if (opt == 'k')
			known_file = optarg;
		else if (opt == 'p')
			number = (unsigned)strtoul(optarg, NULL, 0);
		else if (opt == 's')
			options.silence_ms = (unsigned)strtoul(optarg, NULL, 0);
		else if (opt == 'b')
			options.baud = (unsigned)strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	if (optind >= argc)
		return 2;
	options.known = read_known();
	r = dev_session_open(argv[optind], &options, &s, &err);
	if (r == 0) {
		r = run(s, number, argv + optind + 1, argc - optind - 1, &err);
		dev_session_traffic(s, &in, &out);
		printf("bytes in %" PRIu64 " out %" PRIu64 "\n", in, out);
		if (dev_session_close(s, &close_err) < 0)
			printf("close: %s\n", close_err.text);
	}
	if (r < 0)
		printf("error %d: %s\n", r, err.text);
	return r < 0;
}
