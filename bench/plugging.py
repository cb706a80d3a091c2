# SPDX-License-Identifier: MIT
"""From plugging a board in to its listed folder."""

import os
import statistics
import time

import bed as beds
import rig
from model import GEOMETRIES, RANDOM, USB, Cost
from table import Row, seconds


def known_options():
    """How romount is told which board it is that it has seen before, so that it need not
    ask the board."""
    return ["--id", beds.UID]


class PlugIn:
    """One mount, listed."""

    def __init__(self, bed, state, options):
        before = bed.stats()
        mount = bed.case.mount(bed.target, *options, state=state)
        start = time.perf_counter()
        names = [entry.stat().st_mtime for entry in os.scandir(mount.path)]
        self.wall = mount.seconds + time.perf_counter() - start
        self.cost = Cost(before, bed.stats(), self.wall)
        rig.equal(len(names), 10, "folders in the root")
        mount.unmount()
        bed.settle()


def _row(what, plugs, aim_s, closed):
    walls = [plug.wall for plug in plugs]
    worst = max(plugs, key=lambda plug: plug.wall).cost
    line = USB.time(max(worst.bytes_in, worst.bytes_out))
    quiet = not any(plug.cost.bytes_in or plug.cost.soft_resets for plug in plugs)
    median = statistics.median(walls)
    met = median <= aim_s and (quiet or not closed)
    limit = 0 if closed else line
    return Row(what, "%s (worst %s), soft resets: %d" % (
        seconds(median), seconds(max(walls)), worst.soft_resets),
        seconds(limit), median / limit if limit else None,
        seconds(aim_s) + (", port not opened" if closed else ""), met, worst)


def _count(quick):
    return 3 if quick else 10


def known(case, quick, geometry):
    tree = beds.tree_for(geometry, quick, RANDOM)
    options = known_options()
    bed, mount = beds.filled(case, geometry, USB, tree, *options)
    mount.unmount()
    bed.settle()
    plugs = [PlugIn(bed, mount.state, options) for _ in range(_count(quick))]
    return [_row("%d files, a known board" % len(tree), plugs, 0.05, True)]


def first(case, quick, geometry, packed):
    """What romount has written itself, or an image as other tools write it, where what
    describes a file stands before its bytes, all over the partition."""
    tree = beds.tree_for(geometry, quick, RANDOM)
    if packed:
        bed = beds.Bed(case, geometry, USB, beds.packed(case, tree))
    else:
        bed, mount = beds.filled(case, geometry, USB, tree)
        mount.unmount()
        bed.settle()
    plugs = [PlugIn(bed, case.fresh("state"), []) for _ in range(_count(quick))]
    what = "%d files%s, the first time" % (len(tree), " in a packed image" if packed else "")
    return [_row(what, plugs, 0.5, False)]


def cases():
    block = GEOMETRIES["block"]
    return [
        ("plug-in/known", True, lambda case, quick: known(case, quick, block)),
        ("plug-in/first", True, lambda case, quick: first(case, quick, block, False)),
        ("plug-in/packed", True, lambda case, quick: first(case, quick, block, True)),
    ]
