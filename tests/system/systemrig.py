# SPDX-License-Identifier: MIT
"""One machine for all cases of a suite, with the package in it, and what they ask of it."""

import contextlib
import glob
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "mount")]
import rig  # noqa: E402
import vm  # noqa: E402

USER, OTHER = "alice", "bob"  # sits at the machine; may log in at TTYS[OTHER]
USER_IDS = {USER: 1000, OTHER: 1001}
TTYS = {USER: "tty1", OTHER: "tty2"}
MOUNTS = "/media/romount"
STATE = "/var/lib/romount"
# Idle, a folder is there 2 to 4 s after the plug; other tests share the processors.
APPEARS = 60
# What a guest says when a program of ours breaks.
BROKEN = (r"Failed at step|segfault|type=1326|code=dumped|status=31/SYS|Watchdog timeout|"
          r"general protection")
SERIALS = itertools.count(0xB000)

system = None  # the System


def package():
    """The package under test."""
    directory = os.environ.get("ROMOUNT_PACKAGE", os.path.join(rig.BUILDDIR, "package"))
    found = [path for path in glob.glob(os.path.join(directory, "romount_*.deb"))]
    if len(found) != 1:
        raise rig.Failed("%s holds %d packages; tests/package/suite_debian makes one, with "
                         "KEEP=%s" % (directory, len(found), directory))
    return found[0]


class System(vm.Machine):
    def __init__(self):
        image = subprocess.run(
            [os.path.join(HERE, "image"), os.path.join(rig.BUILDDIR, "system-image")],
            stdout=subprocess.PIPE, check=True, text=True,
        ).stdout.strip()
        super().__init__(image, rig.BUILDDIR, tempfile.mkdtemp(prefix="romount-vm-"))

    def clean(self):
        self.end()
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def as_user(self, command, user=USER, **rest):
        return self.run("runuser -u %s -- sh -c %s" % (user, shlex.quote(command)), **rest)

    def log_in(self, user):
        """At a console of their own, which is not shown yet."""
        self.run("systemctl start getty@" + TTYS[user])

    def log_out(self, user):
        self.run("systemctl stop getty@" + TTYS[user])

    def sit_down(self, user):
        """Who is logged in is shown: the session is the seat's active one."""
        find = ("loginctl list-sessions --no-legend | awk '$3 == \"%s\" && $5 == \"%s\" "
                "{ print $1 }' | grep ." % (user, TTYS[user]))
        self.until(find + " >/dev/null", user + "'s session", vm.BOOT)
        session = self.run(find).out.strip()
        self.run("loginctl activate " + session)
        self.until("test $(loginctl show-seat -P ActiveSession seat0) = " + session,
                   user + "'s session is active")

    # --- romount, as people see it ---

    def install(self):
        with open(package(), "rb") as f:
            self.push(f.read(), "/root/romount.deb")
        self.run("dpkg -i /root/romount.deb && rm /root/romount.deb", wait=vm.BOOT)

    def boards(self, user=USER):
        """{name: what `romount list --json` says of it}"""
        out = self.as_user("romount list --json", user).out
        return {board["name"]: board for board in json.loads(out)["boards"]}

    def main_process(self):
        return int(self.run("systemctl show -P MainPID romountd").out)

    def mounts(self):
        return self.run("findmnt -rn -t fuse.romount -o TARGET || true").out.split()

    def check_health(self):
        """Nothing of ours was killed by the kernel or systemd since the last time."""
        found = self.run(
            "journalctl -q --cursor-file=/run/health --no-pager | grep -E %s || true"
            % shlex.quote(BROKEN)).out
        if found:
            raise AssertionError("the journal: " + found)

    def trouble(self):
        """For people, when a case fails."""
        commands = (
            "journalctl -q -n 60 --no-pager -o short-monotonic",
            "romount list", "findmnt -t fuse.romount", "ls -lR " + MOUNTS,
            "head -n 30 %s/*/STATUS.txt" % MOUNTS, "ls -lR %s | head -n 80" % STATE,
        )
        for command in commands:
            with contextlib.suppress(vm.Failed, OSError):
                result = self.run(command, code=None, wait=30)
                print("--- %s\n%s%s" % (command, result.out, result.complaints), flush=True)


class Usb(vm.Plug):
    """A board in a port, and its folder in the guest."""

    def __init__(self, case, number, *partitions, usb=None, **options):
        self.case = case
        # Its folder's name ends with the end of this. No two boards share it: romountd
        # remembers what it has seen.
        self.serial = "e6614c311a2f%04x" % next(SERIALS)
        partitions = partitions or ("block:256K",)
        board = case.board(*partitions, uid=self.serial, **options)
        super().__init__(system, number, board, serial=self.serial, **usb or {})
        case.rest.callback(self._away)

    def _away(self):
        with contextlib.suppress(vm.Failed, OSError):
            self._gadget("unplug", self.number, code=None)
            self.drop()

    def wait_for_folder(self, number=0, user=USER):
        """Its path, when it is the user's. Root may not look into it, and has it until somebody
        is logged in."""
        look = (r"findmnt -rn -t fuse.romount -o TARGET,OPTIONS | sed -nE "
                r"'s,^(%s/[^/]*-%s(-[0-9]+)?/rom%d) .*user_id=%d.*,\1,p' | grep ."
                % (MOUNTS, self.serial[-4:], number, USER_IDS[user]))
        system.until(look + " >/dev/null", "the folder of " + self.serial, APPEARS)
        (path,) = system.run(look).out.split()
        return path

    def wait_for_owner(self, user):
        """In the list, which the folder follows."""
        ours = r'"serial":"%s"[^{]*"owner":%d,' % (self.serial, USER_IDS[user])
        system.until(r"romount list --json | tr -d ' \n' | grep -q " + shlex.quote(ours),
                     "%s is %s's" % (self.serial, user), APPEARS)

    def wait_until_gone(self):
        system.until("! ls %s | grep -q -- -%s" % (MOUNTS, self.serial[-4:]),
                     "the folder of %s is gone" % self.serial, APPEARS)

    def appear(self):
        self.plug()
        return self.wait_for_folder()

    def vanish(self):
        self.unplug()
        self.wait_until_gone()

    def listed(self, user=USER):
        found = [board for name, board in system.boards(user).items()
                 if name.endswith(self.serial[-4:])]
        rig.equal(len(found), 1, "boards of %s in the list" % self.serial)
        return found[0]

    def must_show(self, want):
        self.board.partition().must_show(want)


def fill(folder, seed, files=12, size=3000, user=USER):
    """Copies a project into the folder, as a user does: {path: hash}."""
    with tempfile.TemporaryDirectory() as top:
        rig.make_tree(top, seed, files, size)
        tar = subprocess.run(["tar", "-C", top, "-c", "."], stdout=subprocess.PIPE, check=True)
        source = "/tmp/source-" + str(seed)
        quoted = shlex.quote(source)
        system.as_user("rm -rf %s && mkdir %s && tar -C %s -x" % (quoted, quoted, quoted),
                       user, data=tar.stdout)
        system.as_user("cp -r %s/. %s" % (quoted, shlex.quote(folder)), user)
        return rig.tree(top)


def shown(folder, user=USER):
    """{path: hash or "dir"}: what the user finds there."""
    out = system.as_user(
        "cd %s && find . -mindepth 1 -type d -printf 'dir %%P\\n' && "
        "find . -type f -exec sha256sum {} +" % shlex.quote(folder), user).out
    found = {}
    for line in out.splitlines():
        value, _, path = line.partition(" ")
        found[path.strip().removeprefix("./")] = value
    return found


class Watch:
    """A case, with what the guest has to say when it fails."""

    def __init__(self, function):
        self.function = function
        self.__name__ = function.__name__

    def __call__(self, case):
        if system.process.poll() is not None:
            raise AssertionError("the machine has ended; see " + system.console)
        start = time.monotonic()
        try:
            self.function(case)
            system.check_health()
        except Exception:
            system.trouble()
            raise
        finally:
            print("#   in the machine: %.1f s" % (time.monotonic() - start), flush=True)


def main(cases):
    global system
    if os.geteuid() != 0:
        print("skip system - the image is made by mmdebstrap, which wants root")
        sys.exit(0)
    try:
        system = System()
    except (subprocess.CalledProcessError, OSError) as e:
        print("not ok image - %s" % e)
        sys.exit(1)
    # Against hanging only; the longest takes some minutes.
    rig.CASE_WAIT = 900
    try:
        start = time.monotonic()
        system.start()
        print("# up in %.1f s, %s" % (time.monotonic() - start, system.accelerator), flush=True)
        rig.main([(case.__name__, Watch(case)) for case in cases], ordinary=False)
    finally:
        system.clean()
