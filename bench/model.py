# SPDX-License-Identifier: MIT
"""The modelled hardware: lines and flash with the times of real ones, and what a piece of
work takes at least by them."""

MIB = 1 << 20
PAGE = 256
RANDOM, SOURCES = "random", "sources"


class Line:
    def __init__(self, name, speed, latency_ms):
        self.name, self.speed, self.latency_ms = name, speed, latency_ms

    def options(self):
        return ["--speed", str(self.speed), "--latency-ms", str(self.latency_ms)]

    def time(self, size):
        return size / self.speed

    def round_trip(self):
        return 2 * self.latency_ms / 1000


USB = Line("USB", 800000, 1)
UART = Line("UART", 11520, 1)


class Geometry:
    """A partition: `spec` as the emulated board takes it; times in milliseconds for an
    erase block, in microseconds for 256 bytes."""

    def __init__(self, name, spec, erase_ms, page_us, tree, files):
        self.name, self.spec = name, spec
        self.erase_ms, self.page_us = erase_ms, page_us
        self.tree, self.files = tree, files
        kind, size, *rest = spec.split(":")
        self.size = int(size[:-1]) * MIB
        self.erases = kind != "mram"
        self.block = int(rest[0][:-1]) * 1024 if rest else 4096

    def options(self):
        return ["--partition", self.spec, "--erase-ms", str(self.erase_ms),
                "--program-us-per-256", str(self.page_us)]

    def time(self, erases, pages):
        return (erases * self.erase_ms / 1000 if self.erases else 0) + pages * self.page_us / 1e6

    def blocks(self, size):
        return -(-size // self.block) if self.erases else 0


GEOMETRIES = {g.name: g for g in (
    # A serial NOR flash (W25Q, typical): rp2, esp32; stm32 with QSPI, alif with OSPI.
    Geometry("block", "block:8M", 45, 400, 6 * MIB, 200),
    Geometry("partial", "partial:8M", 45, 400, 6 * MIB, 200),
    # The large sectors inside of an STM32F7, in units of 32 bytes.
    Geometry("sectors", "partial:2M:256K:32", 1100, 128, MIB, 34),
    # MRAM as in an Alif Ensemble: nothing to erase, units of 16 bytes.
    Geometry("mram", "mram:8M", 0, 26, 6 * MIB, 200),
)}


def describe():
    """For --help and for whoever reads the tables."""
    lines = ["lines:"]
    for line in (USB, UART):
        lines.append("  %-8s %d bytes/s each way, %g ms latency each way"
                     % (line.name, line.speed, line.latency_ms))
    lines.append("flash (options of tests/board/board):")
    for g in GEOMETRIES.values():
        lines.append("  %-8s %s; a tree of %d files, %g MiB"
                     % (g.name, " ".join(g.options()), g.files, g.tree / MIB))
    return "\n".join(lines)


class Cost:
    """What was done meanwhile: the difference of the board's counters."""

    KEYS = ("bytes_in", "bytes_out", "erases", "pages", "soft_resets")

    def __init__(self, before, after, wall=0.0):
        self.wall = wall
        for key in self.KEYS:
            setattr(self, key, after[key] - before[key])


def pages(size):
    return -(-size // PAGE)


def save_limit(geometry, line, size):
    """A file into blank space: its pages and one that makes it valid, its bytes over the
    line, and one question that is answered."""
    return (geometry.time(0, pages(size) + 1) + line.time(size) + line.round_trip())


def deploy_limits(geometry, line, size, cost):
    """(flash, line): the pages that were programmed, and blocks erased, but no more of them
    than the tree fills; its bytes, or what was sent where that is less."""
    erases = min(cost.erases, geometry.blocks(size))
    return (geometry.time(erases, min(cost.pages, pages(size))),
            line.time(min(cost.bytes_in, size)))
