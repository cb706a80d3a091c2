# SPDX-License-Identifier: MIT
"""Writing and reading whole trees."""

import os
import shutil

import bed as beds
import content
import faultrig
import peer
import rig
from model import GEOMETRIES, MIB, RANDOM, SOURCES, UART, USB, deploy_limits
from table import Row, seconds

AIM = 1.1  # times the limit
AIM_READ = 0.95  # of the link
SMALL, SMALL_FILES = 64 << 10, 8
BEFORE = {"blank": "blank flash", "foreign": "foreign bytes", "older": "another tree"}


def flash_before(case, geometry, quick, state):
    """None is blank."""
    foreign = beds.noise(geometry.size, "foreign")
    if state == "foreign":
        return foreign
    if state == "older":
        size = geometry.size * 9 // 10
        count = geometry.files // (6 if quick else 1)
        return beds.packed(case, content.make(RANDOM, size, count, "older"), foreign)
    return None


def _empty(folder):
    for entry in os.scandir(folder):
        if entry.is_dir():
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def replace_all(mount, source):
    _empty(mount.path)
    rig.run("cp", "-r", source + "/.", mount.path)
    beds.fsync(mount.path)


def _row(what, size, geometry, line, state, cost):
    flash, link = deploy_limits(geometry, line, size, cost)
    # Onto dirty flash the link can hide behind the erases; onto blank flash it is next to
    # the programming.
    over_erases = state != "blank" and geometry.erases
    limit = max(flash, link) if over_erases else flash + link
    ratio = cost.wall / limit
    met = ratio <= AIM and (over_erases or not cost.erases)
    aim = "%g x flash" % AIM if over_erases else "%g x (flash + link), 0 erases" % AIM
    return Row(what, seconds(cost.wall),
               "%s (flash %s, link %s)" % (seconds(limit), seconds(flash), seconds(link)),
               ratio, aim, met, cost)


def deploy(case, quick, geometry, kind, state, line=USB, tree=None):
    tree = tree or beds.tree_for(geometry, quick, kind)
    before = flash_before(case, geometry, quick, state)
    source = case.fresh("source")
    faultrig.write_tree(source, tree)
    bed = beds.Bed(case, geometry, line, before)
    mount = bed.mount()
    bed.settle()
    cost = bed.measure(lambda: replace_all(mount, source))
    bed.must_show(tree)
    mount.unmount()
    bed.stop()
    size = content.size_of(tree)
    what = "%.3g MiB of %s bytes onto %s, %s, %s" % (
        size / MIB, kind, BEFORE[state], geometry.name, line.name)
    if kind == SOURCES:
        what = what.replace("sources bytes", "Python sources")
    row = _row(what, size, geometry, line, state, cost)
    if peer.is_there():
        row.add_peer(peer.deploy(beds.Bed(case, geometry, line, before), tree), cost.wall)
    return [row]


def small(case, quick):
    """Over a slow line: small, since it takes minutes otherwise."""
    tree = content.make(SOURCES, SMALL, SMALL_FILES)
    return deploy(case, quick, GEOMETRIES["block"], SOURCES, "blank", UART, tree)


def read_back(case, quick, geometry, kind):
    tree = beds.tree_for(geometry, quick, kind)
    bed, mount = beds.filled(case, geometry, USB, tree)
    mount.unmount()
    mount = bed.mount(state=case.fresh("state"))
    bed.settle()
    found = {}

    def read_all():
        for path in sorted(tree):
            found[path] = rig.read(mount / path)

    cost = bed.measure(read_all)
    if found != tree:
        raise AssertionError("the folder does not show what the board holds")
    mount.unmount()
    size = content.size_of(tree)
    limit = USB.time(min(size, cost.bytes_out))
    what = "%.3g MiB of %s, %s" % (size / MIB, kind, geometry.name)
    return [Row("reading " + what, "%s, %.0f kB/s" % (seconds(cost.wall), size / cost.wall / 1e3),
                seconds(limit), limit / cost.wall, "%g of the link" % AIM_READ,
                limit / cost.wall >= AIM_READ, cost)]


def cases():
    found = []

    def add(name, quick, function, *args):
        found.append((name, quick,
                      lambda case, hurry, args=args: function(case, hurry, *args)))

    for g in GEOMETRIES.values():
        for kind in (RANDOM, SOURCES):
            add("blank/%s/%s" % (g.name, kind), g.name == "block", deploy, g, kind, "blank")
    add("blank/uart", True, small)
    for g in GEOMETRIES.values():
        for state in ("foreign", "older"):
            add("dirty/%s/%s" % (g.name, state), g.name == "block", deploy, g, RANDOM, state)
    for name in ("block", "partial"):
        for kind in (RANDOM, SOURCES):
            add("read/%s/%s" % (name, kind), name == "block", read_back, GEOMETRIES[name], kind)
    return found
