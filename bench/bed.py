# SPDX-License-Identifier: MIT
"""An emulated board with one partition, prepared without waiting for the modelled times, and
measured with them."""

import contextlib
import os
import time

import content
import faultrig
import rig
from model import Cost

UID = "e6614103e7452a2f"  # of every board
SETTLE_S = 0.5  # after a session: the board boots, and nothing of that is measured


class Bed:
    def __init__(self, case, geometry, line, flash=None):
        """`flash`: what the partition holds, from its start; the rest is blank."""
        self.case, self.geometry, self.line = case, geometry, line
        directory = case.fresh("board")
        if flash:
            rig.write(os.path.join(directory, "flash.0"), flash)
        self.board = rig.Board(*geometry.options(), *line.options(), "--uid", UID,
                               directory=directory)
        case.boards.append(self.board)
        self.target = self.board.partition(0)

    def stop(self):
        self.board.stop()
        self.case.boards.remove(self.board)

    def _set(self, **settings):
        for key, value in settings.items():
            self.board.set(key.replace("_", "-"), value)

    @contextlib.contextmanager
    def hurry(self):
        """Nothing takes modelled time meanwhile."""
        g, line = self.geometry, self.line
        self._set(speed=0, latency=0, erase_ms=0, program_us=0)
        yield
        self.settle()
        self._set(speed=line.speed, latency=line.latency_ms, erase_ms=g.erase_ms,
                  program_us=g.page_us)

    def settle(self):
        time.sleep(SETTLE_S)

    def stats(self):
        return self.board.stats()

    def measure(self, action):
        """The Cost of action()."""
        before = self.stats()
        start = time.perf_counter()
        action()
        wall = time.perf_counter() - start
        return Cost(before, self.stats(), wall)

    def mount(self, *arguments, **options):
        return self.case.mount(self.target, *arguments, **options)

    def must_show(self, tree):
        self.target.must_show(faultrig.hashes(tree))


def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def filled(case, geometry, line, tree, *arguments):
    """(Bed, Mount): the tree deployed by romount onto blank flash."""
    bed = Bed(case, geometry, line)
    with bed.hurry():
        mount = bed.mount(*arguments)
        faultrig.write_tree(mount.path, tree)
        fsync(mount.path)
    bed.must_show(tree)
    return bed, mount


def packed(case, tree, rest=b""):
    """A packed image of the tree, as other tools write it, and what stands behind it."""
    source, path = case.fresh("packed"), case.fresh("image", make=False)
    faultrig.write_tree(source, tree)
    rig.run(rig.ROMOUNT, "build", "-o", path, source)
    image = rig.read(path)
    return image + rest[len(image):]


def noise(size, seed):
    return faultrig.random_from("bench", seed).randbytes(size)


def tree_for(geometry, quick, kind, seed="bench"):
    """The tree of a geometry; a sixth of it where quick."""
    if quick:
        return content.make(kind, geometry.tree // 6, max(2, geometry.files // 6), seed)
    return content.make(kind, geometry.tree, geometry.files, seed)
