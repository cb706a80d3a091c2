# SPDX-License-Identifier: MIT
"""What happens on the host alone: staging, listing, memory."""

import subprocess
import time

import bed as beds
import content
import faultrig
import rig
from model import GEOMETRIES, MIB, RANDOM, USB
from table import Row

PARTITION = 8 * MIB
MEMORY_KIB = 16 * 1024
LISTED = 2000


def make_image(case):
    path = case.fresh("image", make=False)
    rig.write(path, b"\xff" * PARTITION)
    return rig.Image(path, str(PARTITION))


def timed(*argv):
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def memory_peak(mount):
    """KiB"""
    with open("/proc/%d/status" % mount.pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


def _memory_row(what, peak):
    return Row(what, "%.1f MiB" % (peak / 1024), to_reach="16 MiB", met=peak <= MEMORY_KIB)


def staging(case, quick):
    tree = beds.tree_for(GEOMETRIES["block"], quick, RANDOM)
    source = case.fresh("source")
    faultrig.write_tree(source, tree)
    first, later, memory = 1e9, 1e9, 0
    for _ in range(7):
        mount = case.mount(make_image(case), "--quiet", "3600000")
        first = min(first, timed("cp", "-r", source + "/.", mount.path))
        memory = max(memory, memory_peak(mount))
        for _ in range(3):
            rig.run("find", mount.path, "-mindepth", "1", "-delete")
            later = min(later, timed("cp", "-r", source + "/.", mount.path))
        faultrig.kill(mount)
    size = content.size_of(tree)
    rows = []
    for what, best in (("copying %d files, %.3g MiB, just after the mount" % (
            len(tree), size / MIB), first), ("the same, later on", later)):
        rows.append(Row(what, "%.0f MB/s" % (size / best / 1e6), to_reach="100 MB/s",
                        met=size / best >= 100e6))
    return [*rows, _memory_row("memory at most, all of it staged", memory)]


def listing(case, _quick):
    mount = case.mount(make_image(case))
    tree = {"d%02d/f%04d.py" % (i % 40, i): b"x = %d\n" % i for i in range(LISTED)}
    faultrig.write_tree(mount.path, tree)
    mount = mount.again(fresh=False)
    fresh = timed("ls", "-lR", mount.path)
    warm = min(timed("ls", "-lR", mount.path) for _ in range(5))
    mount.unmount()
    return [Row("ls -lR of {:,} files, {}".format(LISTED, when), "%.0f ms" % (took * 1000),
                to_reach="50 ms", met=took <= 0.05)
            for when, took in (("first time", fresh), ("again", warm))]


def commit_memory(case, quick):
    geometry = GEOMETRIES["block"]
    tree = beds.tree_for(geometry, quick, RANDOM)
    _, mount = beds.filled(case, geometry, USB, tree)
    peak = memory_peak(mount)
    mount.unmount()
    return [_memory_row("memory at most, during a commit", peak)]


def cases():
    return [("host/staging", True, staging), ("host/listing", True, listing),
            ("host/memory", True, commit_memory)]
