# SPDX-License-Identifier: MIT
"""Saving one small file: from fsync() called to fsync() returned, by this very process."""

import os
import statistics
import time

import bed as beds
import content
import peer
import rig
from model import GEOMETRIES, MIB, PAGE, RANDOM, UART, USB, Cost, save_limit
from table import Row, seconds

SIZE = content.CHANGED_SIZE
IDLE_S = 2  # after a run of saves: what is left to do in the background is done


class Save:
    """One save: how long fsync() took, and what the board did until it returned."""

    def __init__(self, bed, mount, seed, of_folder=False):
        path = mount / content.CHANGED
        self.data = rig.noise(seed, SIZE)
        before = bed.stats()
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, self.data)
            if of_folder:
                os.close(fd)
                fd = os.open(os.path.dirname(path), os.O_RDONLY)
            start = time.perf_counter()
            os.fsync(fd)
            self.wall = time.perf_counter() - start
        finally:
            os.close(fd)
        self.cost = Cost(before, bed.stats(), self.wall)


class Total:
    """The sum of what saves have cost."""

    def __init__(self, saves):
        for key in Cost.KEYS:
            setattr(self, key, sum(getattr(save.cost, key) for save in saves))


def times(saves):
    walls = [save.wall for save in saves]
    return statistics.median(walls), max(walls)


def _row(what, saves, limit, aim_s):
    median, worst = times(saves)
    total = Total(saves)
    aim = "%s, 0 erases" % seconds(aim_s) if aim_s else None
    return Row(what, "%s (worst %s)" % (seconds(median), seconds(worst)), seconds(limit),
               median / limit, aim, not aim_s or (median <= aim_s and not total.erases),
               total, len(saves))


def _run(bed, mount, count, pause, name):
    """[by fsync of the file], [of its folder]"""
    results = [], []
    for of_folder in (False, True):
        for n in range(count):
            time.sleep(pause)
            results[of_folder].append(Save(bed, mount, (name, of_folder, n), of_folder))
    return results


def one_file(case, quick, geometry, line, aim_s):
    tree = beds.tree_for(geometry, quick, RANDOM)
    bed, mount = beds.filled(case, geometry, line, tree)
    count = 5 if quick else 10
    by_file, by_folder = _run(bed, mount, count, 0.3, geometry.name)
    tree[content.CHANGED] = by_folder[-1].data
    bed.must_show(tree)
    mount.unmount()
    limit = save_limit(geometry, line, SIZE)
    what = "2 KiB in %.3g MiB, %s, %s" % (content.size_of(tree) / MIB, geometry.name, line.name)
    rows = [_row(what + ", fsync of the file", by_file, limit, aim_s),
            _row(what + ", of the folder", by_folder, limit, aim_s)]
    if peer.is_there() and line is USB:
        tree[content.CHANGED] = rig.noise("peer", SIZE)
        rows[0].add_peer(peer.deploy(bed, tree), times(by_file)[0])
    return rows


def in_a_row(case, quick, geometry, dirty):
    """Saves one after the other; `dirty`: no blank byte when they begin."""
    count, interval = (20, 0.2) if quick else (100, 1.0)
    tree = beds.tree_for(geometry, quick, RANDOM)
    if dirty:
        image = beds.packed(case, tree, beds.noise(geometry.size, "behind"))
        bed = beds.Bed(case, geometry, USB, image)
        mount = bed.mount()
        bed.settle()
    else:
        bed, mount = beds.filled(case, geometry, USB, tree)
    before, saves, due = bed.stats(), [], time.perf_counter()
    for n in range(count):
        time.sleep(max(0, due - time.perf_counter()))
        due += interval
        saves.append(Save(bed, mount, ("row", dirty, n)))
    time.sleep(IDLE_S)
    run = Cost(before, bed.stats())
    tree[content.CHANGED] = saves[-1].data
    bed.must_show(tree)
    mount.unmount()
    return _rows_of_run(geometry, interval, dirty, saves, run)


def _rows_of_run(geometry, interval, dirty, saves, run):
    count, meanwhile = len(saves), Total(saves).erases
    median, worst = times(saves)
    limit = save_limit(geometry, USB, SIZE)
    what = "%d saves, one each %g s, %s, %s" % (
        count, interval, geometry.name, "nothing blank" if dirty else "free space blank")
    each = run.erases / count
    worn = run.pages * PAGE / geometry.block / count if geometry.erases else 0
    return [
        Row(what + ": fsync", "%s (worst %s)" % (seconds(median), seconds(worst)),
            seconds(limit), median / limit, cost=run, saves=count),
        Row(what + ": erases while it waits", "%d" % meanwhile, "0", None,
            None if dirty else "0", not meanwhile),
        # Space that was never used again would need none at all; used in a circle, each
        # block of pages costs one.
        Row(what + ": erases per save", "%.2f" % each, "0 to %.2f" % worn, None,
            None if dirty else "0.5", each <= 0.5),
    ]


def cases():
    """[(name, in a quick run, function(case, quick) -> rows)]"""
    found = []
    for g in GEOMETRIES.values():
        found.append(("save/" + g.name, g.name != "partial",
                      lambda case, quick, g=g: one_file(case, quick, g, USB, 0.15)))
    block = GEOMETRIES["block"]
    found.append(("save/uart", True,
                  lambda case, quick: one_file(case, quick, block, UART, 2.5)))
    for dirty in (False, True):
        found.append(("row/" + ("dirty" if dirty else "blank"), True,
                      lambda case, quick, dirty=dirty: in_a_row(case, quick, block, dirty)))
    return found
