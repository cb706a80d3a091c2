# SPDX-License-Identifier: MIT
"""Power cuts: the board loses its power in an operation of a commit, which is done in part.

The folder goes to and fro between two trees. Each commit is cut at another operation, evenly
spread over all of them. What a board would see then is the old tree, the new one, or no
file system; never anything else. Plugged in again, with nothing done by the user, it gets
the new tree: by the mount that has stayed, or by the next one after romount has been killed
or unmounted.
"""

import os
import subprocess
import sys

import faultrig
import rig

SIZE = "64K"
CUTS = int(os.environ.get("ROMOUNT_CUTS", "200"))
LANES = 2  # one waits for its board while the other computes
POWER_LOST = 42
VARIANTS = ("stay", "kill", "stay", "unmount")


class Lane:
    def __init__(self, case, kind, number):
        self.case, self.number = case, number
        self.rng = faultrig.random_from("cuts", kind, number)
        self.options = ("--partition", "%s:%s" % (kind, SIZE))
        self.board = case.board("%s:%s" % (kind, SIZE))
        self.mount = case.mount(self.board.partition(0), "--quiet", "3600000")
        self.vfsrom = faultrig.VfsRom(case)
        self.trees = [faultrig.make_tree(("cut", n), 12, 36000) for n in range(2)]
        self.wanted = [faultrig.hashes(tree) for tree in self.trees]
        self.now = 0
        self.totals = [0, 0]
        self.done = {"old tree": 0, "new tree": 0, "no file system": 0, "not cut": 0}
        self.write(0)
        self.mount.sync()
        for _ in range(2):
            self.switch_whole()

    def write(self, which):
        faultrig.write_tree(self.mount.path, self.trees[which])

    def switch_whole(self):
        """A commit that nothing disturbs; tells how many operations it takes."""
        self.now = 1 - self.now
        self.board.reset()
        self.write(self.now)
        self.mount.sync()
        self.totals[self.now] = self.board.stats()["ops"]
        self.mount.target.must_show(self.wanted[self.now])

    def flash(self):
        return os.path.join(self.board.directory, "flash.0")

    def judge(self, what):
        shown = self.vfsrom.shown(self.flash())
        states = {"old tree": self.wanted[1 - self.now], "new tree": self.wanted[self.now],
                  "no file system": None}
        for name, tree in states.items():
            if shown == tree:
                self.done[name] += 1
                return
        raise AssertionError("%s: a mixed tree: neither old: %s nor new: %s" % (
            what, rig.differences(shown, self.wanted[1 - self.now]),
            rig.differences(shown, self.wanted[self.now])))

    def cut(self, share, variant):
        self.now = 1 - self.now
        at = 1 + int(share * self.totals[self.now])
        fraction = self.rng.choice([0, 1, self.rng.random()])
        mixed = self.rng.choice(["", ":mixed"])
        what = "cut at %d of %d:%.3f%s, %s" % (
            at, self.totals[self.now], fraction, mixed, variant)
        self.board.reset()
        self.board.set("cut-at", "%d:%.3f%s" % (at, fraction, mixed))
        self.write(self.now)
        cut = faultrig.sync_errno(self.mount) != 0
        if cut:
            self.heal(what, variant)
        else:  # it was done with fewer operations than the last time
            self.done["not cut"] += 1
            self.totals[self.now] = self.board.stats()["ops"]
            self.board.set("cut-at", "0")
        shown = self.vfsrom.shown(self.flash())
        assert shown is not None, what + ": no file system"
        rig.equal_trees(shown, self.wanted[self.now], what)
        rig.equal_trees(self.mount.tree(), self.wanted[self.now], what + ", in the folder")
        return cut

    def heal(self, what, variant):
        rig.equal(self.board.process.wait(rig.WAIT), POWER_LOST, what)
        self.board.process.stdout.close()
        self.board.close()
        self.judge(what)
        if variant == "kill":
            faultrig.kill(self.mount)
        elif variant == "unmount":
            self.mount.unmount(code=1)
        self.board.start()
        if variant != "stay":
            self.mount = faultrig.remount(self.mount)
        try:
            faultrig.wait_on_flash(self.mount)
        except AssertionError as e:
            raise AssertionError("%s: %s: %s" % (what, e, self.mount.attribute("error")))

    def run(self):
        for i in range(self.number, CUTS, LANES):
            variant = VARIANTS[i // LANES % len(VARIANTS)]
            assert any(self.cut((i + 0.5) / CUTS, variant) for _ in range(4)), self.done
        print("# lane %d: %s" % (self.number, self.done), flush=True)


def main(kind):
    lane = os.environ.get("ROMOUNT_LANE")
    if lane is not None:
        name = "%s/lane%s" % (kind, lane)
        rig.main([(name, lambda case: Lane(case, kind, int(lane)).run())])
    print("# SEED=%d ROMOUNT_CUTS=%d" % (rig.SEED, CUTS), flush=True)
    lanes = [
        subprocess.Popen([os.path.abspath(sys.argv[0])],
                         env={**os.environ, "ROMOUNT_LANE": str(n)})
        for n in range(LANES)
    ]
    sys.exit(max([lane.wait() for lane in lanes]))
