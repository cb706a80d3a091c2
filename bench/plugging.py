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
    known = "--id" in rig.run(rig.ROMOUNT, "mount", "--help").stdout
    return ["--id", beds.UID] if known else []


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


def plug_in(case, quick, geometry):
    tree = beds.tree_for(geometry, quick, RANDOM)
    bed, mount = beds.filled(case, geometry, USB, tree)
    mount.unmount()
    bed.settle()
    count = 3 if quick else 10
    first = [PlugIn(bed, case.fresh("state"), []) for _ in range(count)]
    options = known_options()
    known = [PlugIn(bed, mount.state, options) for _ in range(count)]
    what = "plug-in to listed folder, %d files, " % len(tree)
    return [_row(what + "known board", known, 0.05, True),
            _row(what + "first time", first, 0.5, False)]


def cases():
    return [("plug-in", True,
             lambda case, quick: plug_in(case, quick, GEOMETRIES["block"]))]
