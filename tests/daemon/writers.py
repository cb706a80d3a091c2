# SPDX-License-Identifier: MIT
"""Those who save files in a folder and keep book of what close() has accepted."""

import contextlib
import os
import random

from daemonrig import rig


class Writer:
    """One program at work on files of its own in one folder. A step that fails leaves its
    files in doubt: each may then hold what it held before, or any beginning of the new."""

    FILES = 4

    def __init__(self, number, seed, size=2000):
        self.number, self.size = number, size
        self.rng = random.Random("%s %s %s" % (rig.SEED, seed, number))
        pattern = "w%d/f%d.bin" if number % 2 else "w%d-f%d.bin"
        self.names = [pattern % (number, i) for i in range(self.FILES)]
        self.files = {}  # path below the folder: bytes
        self.doubt = {}  # path: (old, new), each bytes or None
        self.steps = 0

    def step(self, folder):
        """One operation, chosen by chance; OSError when the folder is gone meanwhile."""
        there = [name for name in self.names if name in self.files]
        kinds = ["save", "save", "rewrite", "patch", "rename", "delete"] if there else ["save"]
        kind = self.rng.choice(kinds)
        path = self.rng.choice(self.names if kind == "save" else there)
        getattr(self, kind)(folder, path)
        self.steps += 1

    def data(self):
        return self.rng.randbytes(self.rng.randrange(self.size))

    def begin(self, changes):
        self.doubt = {path: (self.files.get(path), new) for path, new in changes.items()}

    def end(self):
        for path, (_, value) in self.doubt.items():
            if value is None:
                self.files.pop(path, None)
            else:
                self.files[path] = value
        self.doubt = {}

    def save(self, folder, path):
        """As a careful editor: a new file, which then takes the place of the old one."""
        data, temporary = self.data(), path + ".new"
        self.begin({path: data, temporary: None})
        full = os.path.join(folder, temporary)
        if "/" in path:
            # Never the folder itself, which may be gone.
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(full))
        self.put(full, data, os.O_TRUNC)
        os.rename(full, os.path.join(folder, path))
        self.end()

    def rewrite(self, folder, path):
        data = self.data()
        self.begin({path: data})
        self.put(os.path.join(folder, path), data, os.O_TRUNC)
        self.end()

    def patch(self, folder, path):
        data = self.files[path] + self.rng.randbytes(self.rng.randrange(200))
        self.begin({path: data})
        self.put(os.path.join(folder, path), data[len(self.files[path]):], os.O_APPEND)
        self.end()

    def rename(self, folder, path):
        other = self.rng.choice([name for name in self.names if name != path])
        self.begin({path: None, other: self.files[path]})
        os.rename(os.path.join(folder, path), os.path.join(folder, other))
        self.end()

    def delete(self, folder, path):
        self.begin({path: None})
        os.unlink(os.path.join(folder, path))
        self.end()

    def put(self, full, data, how):
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | how, 0o644)
        try:
            while data:
                data = data[os.write(fd, data[: self.rng.randrange(1, 1500)]):]
            if self.rng.random() < 0.1:
                os.fsync(fd)
        finally:
            # This is where a folder accepts what was written, or says that it does not.
            os.close(fd)

    # --- afterwards ---

    def is_mine(self, path):
        return path.startswith(("w%d/" % self.number, "w%d-" % self.number))

    def check(self, folder, what):
        """Everything that was accepted is there; what was in doubt counts as it is now."""
        found = contents(folder, self.is_mine)
        for path in sorted(set(found) | set(self.files) | set(self.doubt)):
            if path not in self.doubt and found.get(path) != self.files.get(path):
                raise AssertionError(
                    "%s: %s holds %s, and close() has accepted %s"
                    % (what, path, brief(found.get(path)), brief(self.files.get(path)))
                )
            if path in self.doubt:
                self.check_doubt(path, found.get(path), what)
        self.files, self.doubt = found, {}

    def check_doubt(self, path, data, what):
        old, new = self.doubt[path]
        if data in (old, new):
            return
        # A file that was being written may have come as far as anywhere.
        wanted = [value for value in (new, *self.written(path)) if value is not None]
        if data is None or not any(value.startswith(data) for value in wanted):
            raise AssertionError(
                "%s: %s holds %s, which it never was: %s before, %s then"
                % (what, path, brief(data), brief(old), brief(new))
            )

    def written(self, path):
        """What is on its way to another name."""
        return [self.doubt[path[:-4]][1]] if path.endswith(".new") else []


def contents(folder, wanted=lambda path: True):
    """{path: bytes} of all files there."""
    found = {}
    for at, _, names in os.walk(folder, onerror=fail):
        for name in names:
            path = os.path.relpath(os.path.join(at, name), folder)
            if wanted(path):
                found[path] = rig.read(os.path.join(folder, path))
    return found


def fail(error):
    raise error


def brief(data):
    return "nothing" if data is None else "%d bytes (%s)" % (len(data), rig.sha(data)[:8])
