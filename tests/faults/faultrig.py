# SPDX-License-Identifier: MIT
"""What the suites of faults share, on top of the rig of mounted folders (tests/mount)."""

import json
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "mount"))
import rig  # noqa: E402

TICK = 0.005
WAIT = rig.WAIT


def random_from(*what):
    """Differs with SEED and with what it is for."""
    return random.Random("%s %s" % (rig.SEED, what))


def wait_for(what, condition, wait=WAIT):
    """The first true value of `condition`."""
    deadline = time.monotonic() + wait
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %d s in vain until %s" % (wait, what))
        time.sleep(TICK)


# --- trees: {path: bytes} -------------------------------------------------------------------


def make_tree(seed, files, size):
    """About `size` bytes, half of the files like text."""
    rng = random_from("tree", seed)
    words = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
             for _ in range(300)]
    tree = {}
    for i in range(files):
        length = max(1, int(size / files * rng.uniform(0.2, 1.8)))
        if i % 2:
            tree["d%d/f%03d.bin" % (i % 5, i)] = rng.randbytes(length)
        else:
            text = b" ".join(rng.choices(words, k=length // 4 + 2))
            tree["d%d/f%03d.txt" % (i % 5, i)] = text[:length]
    return tree


def write_tree(top, tree):
    for path, data in tree.items():
        rig.write(os.path.join(top, path), data)


def hashes(tree):
    """As rig.tree() and Partition.shown() have it."""
    found = {path: rig.sha(data) for path, data in tree.items()}
    for path in tree:
        while path := os.path.dirname(path):
            found[path] = "dir"
    return found


class VfsRom:
    """MicroPython's own view of flash files, while no board runs."""

    def __init__(self, case):
        self.process = case.rest.enter_context(subprocess.Popen(
            [os.path.join(rig.SRCDIR, "tests/board/vfsrom"), "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ))

    def shown(self, path):
        """As Partition.shown(); None: no file system."""
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            return None
        for bad in ("duplicates", "outside"):
            if answer.get(bad):
                raise AssertionError("on flash: %s: %s" % (bad, answer[bad]))
        found = {path: entry["sha256"] for path, entry in answer["files"].items()}
        found.update((path, "dir") for path in answer["dirs"])
        return found


# --- mounts ---------------------------------------------------------------------------------


def kill(mount):
    """SIGKILL; the dead mount is taken away."""
    mount.kill()
    mount.case.mounts.remove(mount)


def remount(mount, code=0):
    """Once more after it has ended, with what the host knows."""
    return rig.Mount(mount.case, mount.target, mount.path, mount.state, mount.options, code)


def sync_errno(mount):
    """0, or the errno of fsync of the folder."""
    fd = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as e:
        return e.errno
    finally:
        os.close(fd)
    return 0


def is_on_flash(mount):
    return mount.attribute("state") == "on flash"


def wait_on_flash(mount, wait=WAIT):
    """Until all is on flash, without asking for it."""
    wait_for("all is on flash", lambda: is_on_flash(mount), wait)
