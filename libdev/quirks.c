/* SPDX-License-Identifier: MIT */
#include "libdev/quirks.h"

#include <errno.h>
#include <string.h>

#include "libdev/session.h"

#define KIB 1024u

/* What is "erased" by so little at a time is no flash: the smallest erase of any is 64 bytes. */
#define ERASE_BLOCK_MIN 16u
#define ERASE_BLOCKS_MAX (1u << 20)
#define MRAM_UNIT_MAX 16

/* Sources: ports/PORT of MicroPython's tree (the file that defines mp_vfs_rom_ioctl), and
 * the data sheets of the parts for the times, and for what a second program of a unit does.
 * Serial NOR (W25Q, MX25, GD25, IS25) clears any bits at any time. Flash with ECC stores a
 * code with each unit, which a second program would have to set bits of. More special
 * entries stand first. */
static const struct quirk table[] = {
	/* Block devices: flash_range_program of the pico SDK wants whole 256-byte pages. Serial
	 * NOR, whose pages the bootrom programs as they are. */
	{.platform = "rp2", .write_unit = 256, .twice = DEV_TWICE_YES, .why = "rp2"},
	/* esp_partition_write writes any length; 16 where flash is encrypted. Then a unit is a
	 * block of cipher text, and a second program makes garbage of it (ESP-IDF, "Flash
	 * Encryption"); nothing tells from here whether it is. */
	{.platform = "esp32", .write_unit = 16, .why = "esp32"},
	/* Serial NOR behind FlexSPI, pages of 256; erase answers 0 or 1, where 1 is a failure. */
	{.platform = "mimxrt", .write_unit = 256, .twice = DEV_TWICE_YES, .why = "mimxrt"},
	/* Words of 4 bytes, 41-43 us each (nRF52); page erase 85-90 ms. A word may be written
	 * so often only (nWRITE: 2 on the nRF52840) before its page must be erased, and a block
	 * of words 181 times on the nRF52832: too few to rest on. */
	{.platform = "nrf52", .write_unit = 4, .twice = DEV_TWICE_NO, .why = "nRF52"},
	{.platform = "nrf", .write_unit = 4, .twice = DEV_TWICE_NO, .why = "nRF"},
	{.platform = "microbit", .write_unit = 4, .twice = DEV_TWICE_NO, .why = "nRF51"},

	/* Segments on MCU flash beside an external file system: ioctl 6 tells the page. The
	 * D51's flash_write reads, erases and rewrites its whole block of 8 KiB, the D21's a
	 * row of 256 bytes. Nothing checks bounds. The D51's flash has ECC. */
	{.platform = "samd", .machine = "SAMD51", .flags = QUIRK_NO_PROBE,
		.erase_block = 8 * KIB, .write_unit = 8 * KIB, .erase_ms = 400,
		.twice = DEV_TWICE_NO, .program_ms = 300, .why = "SAMD51: blocks of 8 KiB"},
	{.platform = "samd", .machine = "SAME5", .flags = QUIRK_NO_PROBE,
		.erase_block = 8 * KIB, .write_unit = 8 * KIB, .erase_ms = 400,
		.twice = DEV_TWICE_NO, .program_ms = 300, .why = "SAME5x: blocks of 8 KiB"},
	{.platform = "samd", .flags = QUIRK_NO_PROBE, .erase_block = 256, .write_unit = 256,
		.erase_ms = 200, .twice = DEV_TWICE_NO, .program_ms = 300,
		.why = "SAMD21: rows of 256 bytes"},

	/* MRAM, overwritten freely in units of 16 bytes: nothing is ANDed. Then the OSPI
	 * flash, serial NOR. */
	{.platform = "alif", .address = 0x80000000, .address_end = 0x80580000,
		.flags = QUIRK_NO_ERASE, .write_unit = 16, .erase_ms = 50,
		.twice = DEV_TWICE_NO, .program_ms = 100, .why = "Alif MRAM"},
	{.platform = "alif", .write_unit = 256, .twice = DEV_TWICE_YES, .why = "Alif OSPI"},

	/* Internal flash: a unit of 32 bytes is whole on every family (H7 32, H5 and U5 16,
	 * G0, G4, L4 and WB 8 bytes); ioctl 6 tells the largest sector; up to 4 s for the
	 * 256 KiB of an F7, 100 us per word. F4 and F7 have no ECC, and clear more bits of a
	 * word at any time (RM0090 3.6, RM0410 3.3); the others have ECC. The machine text of
	 * the port ends with the chip. */
	{.platform = "pyboard", .machine = "STM32F4", .address = 0x08000000,
		.address_end = 0x08400000, .write_unit = 32, .erase_ms = 4000,
		.twice = DEV_TWICE_YES, .program_ms = 200, .why = "STM32F4 internal flash"},
	{.platform = "pyboard", .machine = "STM32F7", .address = 0x08000000,
		.address_end = 0x08400000, .write_unit = 32, .erase_ms = 4000,
		.twice = DEV_TWICE_YES, .program_ms = 200, .why = "STM32F7 internal flash"},
	{.platform = "pyboard", .address = 0x08000000, .address_end = 0x08400000,
		.write_unit = 32, .erase_ms = 4000, .twice = DEV_TWICE_NO, .program_ms = 200,
		.why = "STM32 internal flash"},
	/* QSPI, OSPI and XSPI behind memory windows. OSPI does not answer ioctl 6. Serial NOR. */
	{.platform = "pyboard", .address = 0x70000000, .address_end = 0xA0000000,
		.erase_block = 4 * KIB, .write_unit = 256, .twice = DEV_TWICE_YES,
		.why = "STM32 external flash"},

	/* Three arguments only: a 4th is ignored, and the offset taken for the length. Serial
	 * NOR. */
	{.platform = "esp8266", .flags = QUIRK_WHOLE, .erase_block = 4 * KIB,
		.write_unit = 256, .twice = DEV_TWICE_YES, .why = "esp8266: erases a prefix"},
	/* Sectors of 2 to 32 KiB, by chip; each write reprograms a buffer of 2 KiB. */
	{.platform = "renesas-ra", .flags = QUIRK_WHOLE | QUIRK_SHRINK_ERASE,
		.erase_block = 32 * KIB, .write_unit = 2 * KIB, .erase_ms = 3000,
		.twice = DEV_TWICE_NO, .program_ms = 500, .why = "renesas-ra: erases a prefix"},

	{.why = "no entry"},
};

static bool matches(const struct quirk *q, const char *platform, const char *machine,
	bool has_address, uint64_t address)
{
	if (q->platform && strcmp(q->platform, platform) != 0)
		return false;
	if (q->machine && !strstr(machine, q->machine))
		return false;
	if (q->address_end == 0)
		return true;
	return has_address && address >= q->address && address < q->address_end;
}

const struct quirk *quirk_find(
	const char *platform, const char *machine, bool has_address, uint64_t address)
{
	const struct quirk *q = table;

	while (!matches(q, platform, machine, has_address, address))
		q++;
	return q;
}

/* A partition counts its erase blocks in tables on this computer. */
static int check_blocks(
	unsigned number, uint64_t size, uint32_t block, struct error *err)
{
	if (block >= ERASE_BLOCK_MIN && size / block <= ERASE_BLOCKS_MAX)
		return 0;
	return error_set(err, -EINVAL,
		"rom%u claims %llu erase blocks of %u bytes; at least %u bytes each and at "
		"most %u of them are believed", number, (unsigned long long)(size / block),
		block, ERASE_BLOCK_MIN, ERASE_BLOCKS_MAX);
}

static int segment_size(
	const struct quirk_facts *f, uint64_t *size, uint64_t *unit, struct error *err)
{
	if (f->is_block) {
		if (f->count <= 0 || f->size <= 0 || f->size > DEV_SEGMENT_MAX ||
			f->count > DEV_SEGMENT_MAX / f->size)
			return error_set(err, -EINVAL,
				"rom%u claims %lld blocks of %lld bytes", f->number,
				(long long)f->count, (long long)f->size);
		*size = (uint64_t)f->count * (uint64_t)f->size;
		*unit = (uint64_t)f->size;
		return 0;
	}
	if (f->length <= 0 || f->length > DEV_SEGMENT_MAX)
		return error_set(err, -EINVAL, "rom%u claims a length of %lld bytes", f->number,
			(long long)f->length);
	*size = (uint64_t)f->length;
	*unit = f->min_prepare > 0 ? (uint64_t)f->min_prepare : 0;
	return 0;
}

static enum dev_target_kind kind_of(const struct quirk *q, const struct quirk_facts *f)
{
	if (f->is_block)
		return DEV_TARGET_BLOCK;
	if (q->flags & QUIRK_WHOLE)
		return DEV_TARGET_WHOLE;
	if (f->min_prepare > 0)
		return DEV_TARGET_PARTIAL;
	if (f->probe_empty < 0 || (q->flags & QUIRK_NO_PROBE))
		return DEV_TARGET_READONLY;
	/* Refused for its bounds: the offset and the length were both understood. */
	return f->probe_range < 0 ? DEV_TARGET_PARTIAL : DEV_TARGET_WHOLE;
}

static uint32_t erase_block_of(const struct quirk *q, uint64_t reported, uint64_t size)
{
	uint64_t block = reported;

	if (q->erase_block && q->erase_block > block)
		block = q->erase_block;
	if (block == 0)
		block = 4 * KIB;
	while ((q->flags & QUIRK_SHRINK_ERASE) && size % block != 0 && block > 2 * KIB)
		block /= 2;
	return block > DEV_SEGMENT_MAX ? DEV_SEGMENT_MAX : (uint32_t)block;
}

int quirk_geometry(const struct quirk *q, const struct quirk_facts *f,
	struct dev_geometry *out, struct error *err)
{
	struct dev_geometry g = {.number = f->number};
	uint64_t size = 0, unit = 0;
	int r = segment_size(f, &size, &unit, err);

	if (r < 0)
		return r;
	g.kind = kind_of(q, f);
	/* A block device counts in its own blocks, whatever the table says. */
	g.erase_block = g.kind == DEV_TARGET_BLOCK ? (uint32_t)unit
						   : erase_block_of(q, unit, size);
	if (g.kind == DEV_TARGET_READONLY && g.erase_block > size)
		g.erase_block = (uint32_t)size;
	/* A tail that is no whole block cannot be erased safely: it is not ours. */
	g.size = g.kind == DEV_TARGET_READONLY ? size : size - size % g.erase_block;
	if (g.size == 0)
		return error_set(err, -EINVAL,
			"rom%u has %llu bytes, less than one erase block of %u", f->number,
			(unsigned long long)size, g.erase_block);
	if (g.kind != DEV_TARGET_READONLY) {
		r = check_blocks(f->number, g.size, g.erase_block, err);
		if (r < 0)
			return r;
	}
	g.write_unit = q->write_unit ? q->write_unit : 256;
	while (g.erase_block % g.write_unit != 0)
		g.write_unit = g.write_unit % 2 == 0 ? g.write_unit / 2 : 1;
	g.no_erase = q->flags & QUIRK_NO_ERASE ||
		(g.kind == DEV_TARGET_PARTIAL && f->min_prepare <= MRAM_UNIT_MAX &&
			g.erase_block == (uint64_t)f->min_prepare);
	g.prefix_erase = g.kind == DEV_TARGET_WHOLE;
	g.twice = q->twice;
	g.has_address = f->has_address;
	g.address = f->address;
	g.erase_ms_max = q->erase_ms ? q->erase_ms
				     : MAX(400u, 400u * (g.erase_block / (4 * KIB)));
	g.program_ms_max = q->program_ms ? q->program_ms : 100;
	*out = g;
	return 0;
}
