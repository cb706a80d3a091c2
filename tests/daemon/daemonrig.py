# SPDX-License-Identifier: MIT
"""What the suites of romountd share: a daemon with static boards, on emulated ones, and the
folders that it shows. Everything else is the rig's of mounted folders."""

import contextlib
import glob
import os
import select
import signal
import subprocess
import sys

sys.path.insert(
    0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "mount")
)
import rig  # noqa: E402

HOSTILE = os.path.join(rig.BUILDDIR, "tests/daemon/hostile")
SLOW = "[board]\nquiet=600000\n"  # nothing is written unless somebody asks


def wait_for(check, what, wait=rig.WAIT):
    """Until `check` says something true, which is given back."""
    timer = rig.time.monotonic() + wait
    while True:
        found = check()
        if found:
            return found
        if rig.time.monotonic() > timer:
            raise AssertionError("waited %d s for %s" % (wait, what))
        rig.pause()


def mounts_below(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        places = [line.split()[4] for line in f]
    return [place for place in places if place.startswith(path + "/")]


def libexec(case):
    """Where romount-board is. Its sandbox keeps the search for leaks from looking at it."""
    if "ASAN_OPTIONS" not in os.environ:
        return rig.BUILDDIR
    directory = case.fresh("libexec")
    program = os.path.join(directory, "romount-board")
    rig.write(
        program,
        b'#!/bin/sh\nASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 exec "%s"\n'
        % os.path.join(rig.BUILDDIR, "romount-board").encode(),
    )
    os.chmod(program, 0o755)
    os.chmod(case.directory, 0o755)  # the boards' user must get there
    return directory


class Port:
    """A place that an emulated board can be plugged into."""

    def __init__(self, case, alias, *partitions, **options):
        self.case, self.alias = case, alias
        self.board = case.board(*(partitions or ("block:256K",)), **options)
        self.path = self.board.port

    def plug(self):
        self.board.start()

    def unplug(self):
        self.board.unplug()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def word(self):
        return "tty=%s,alias=%s" % (self.path, self.alias)

    def partition(self, number=0):
        return self.board.partition(number)


class Daemon:
    """`udev`: where it hears of boards (udevbed.py); else it hears of `ports` alone."""

    def __init__(self, case, *ports, config="", hostile=None, started=True, udev=None):
        self.case, self.ports, self.udev = case, ports, udev
        self.system = os.geteuid() == 0
        self.root, self.state = case.fresh("boards"), case.fresh("kept")
        self.config = os.path.join(case.fresh("etc"), "romount.conf")
        rig.write(self.config, config.encode())
        # The socket also of one that would be the whole computer's.
        self.env = {
            **case.env, "ROMOUNT_LIBEXEC": libexec(case), "XDG_RUNTIME_DIR": case.directory,
            "ROMOUNT_SOCKET": os.path.join(case.fresh("run"), "private"),
        }
        if hostile:
            self.env.update(ROMOUNT_LIBEXEC=HOSTILE, HOSTILE=hostile)
        if udev:
            self.env.update(udev.env)
        self.log = os.path.join(case.directory, "romountd.log")
        self.process = None
        case.rest.callback(self.clean)
        if started:
            self.start()

    def start(self):
        argv = [
            self.udev.program if self.udev else os.path.join(rig.BUILDDIR, "romountd"),
            *(["--system", "--board-user", os.environ.get("ROMOUNT_TEST_USER", "romount-test")]
              if self.system else ["--user"]),
            *([] if self.udev else ["--no-udev"]),
            "--config", self.config, "--mount-root", self.root, "--state", self.state,
        ]
        for port in self.ports:
            argv += ["--board", port.word()]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
            )

    def said(self):
        return rig.read(self.log).decode(errors="replace")

    # --- what it shows ---

    def folder(self, name, number=0):
        return os.path.join(self.root, name, "rom%d" % number)

    def is_shown(self, name, number=0):
        return self.folder(name, number) in mounts_below(self.root)

    def wait_shown(self, name, number=0):
        """The folder, when it is there and served."""
        path = self.folder(name, number)

        def check():
            if self.process.poll() is not None:
                raise AssertionError("romountd has ended:\n" + self.said()[-2000:])
            try:
                return self.is_shown(name, number) and os.listdir(path) is not None
            except OSError:
                return False

        try:
            wait_for(check, path)
        except AssertionError as e:
            raise AssertionError("%s; romountd says:\n%s" % (e, self.said()[-2000:])) from e
        return path

    def wait_gone(self, name):
        path = os.path.join(self.root, name)
        wait_for(lambda: not mounts_below(path) and not os.path.lexists(path),
                 "%s to go" % path)

    def note(self, name, which="STATUS.txt"):
        return rig.read(os.path.join(self.root, name, which)).decode()

    def wait_note(self, name, text, which="STATUS.txt"):
        def check():
            with contextlib.suppress(FileNotFoundError):
                return text in self.note(name, which)

        try:
            wait_for(check, "%r in %s" % (text, which))
        except AssertionError as e:
            with contextlib.suppress(FileNotFoundError):
                e = AssertionError("%s; it is:\n%s" % (e, self.note(name, which)))
            raise e

    # --- its processes ---

    def board_pids(self):
        """Of the boards' processes that are its children."""
        pids = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                head, _, tail = rig.read(path).rpartition(b")")
                if int(tail.split()[1]) == self.process.pid and b"(romount-board" in head:
                    pids.append(int(head.split()[0]))
        return sorted(pids)

    def wait_pid(self, other_than=()):
        return wait_for(
            lambda: [pid for pid in self.board_pids() if pid not in other_than],
            "a process of the board",
        )[0]

    def end(self, code=0):
        """As systemd does it; all boards with it, and nothing left behind."""
        self.process.send_signal(signal.SIGTERM)
        rig.equal(self.process.wait(rig.WAIT), code, "exit code of romountd")
        self.process = None
        rig.equal(mounts_below(self.root), [], "mounts that are left")
        if os.listdir(self.root):
            raise AssertionError("left behind: %r" % os.listdir(self.root))

    def kill(self):
        """Without a chance to clean up; its boards' processes end by themselves."""
        pids = [os.pidfd_open(pid) for pid in self.board_pids()]
        self.process.kill()
        self.process.wait(rig.WAIT)
        self.process = None
        for pid in pids:
            poll = select.poll()
            poll.register(pid, select.POLLIN)
            if not poll.poll(rig.WAIT * 1000):
                raise AssertionError("a board's process goes on without romountd")
            os.close(pid)

    def clean(self):
        if self.process and self.process.poll() is None:
            pids = self.board_pids()
            self.process.kill()
            self.process.wait(rig.WAIT)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for path in mounts_below(self.root):
            self.unmount(path, lazily=True, code=None)

    def unmount(self, path, lazily=False, code=0):
        """As the user would."""
        if self.system:
            rig.run("umount", *(["-l"] if lazily else []), path, code=code)
        else:
            rig.run("fusermount3", "-u", *(["-z"] if lazily else []), path, code=code)

    def most_memory(self):
        """Bytes that romountd has had at once."""
        status = rig.read("/proc/%d/status" % self.process.pid).decode()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10


def finish(daemon):
    """The usual end of a case."""
    daemon.end()
    text = daemon.said()
    for word in ("Sanitizer", "runtime error", "Assertion"):
        if word in text:
            raise AssertionError("romountd says:\n" + text[-3000:])
