# SPDX-License-Identifier: MIT
"""The checklist of what nobody can do, a case for each item, end to end through romountd:
suite_security (an ordinary user) and suite_security_root (the whole computer's)."""

import contextlib
import os
import random
import re
import signal
import stat
import subprocess
import threading

import boards
import client
import hostile
from daemonrig import SLOW, Daemon, Port, finish, mounts_below, rig, wait_for

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
MEMORY_KIB = 96 << 10  # of any process, whatever a board says
GONE_S = 10  # from an unplug until nobody waits for the board any more
ROOT = os.geteuid() == 0

# --- what all look at -----------------------------------------------------------------------


def is_plain(text, allowed="\n"):
    return all(c.isprintable() or c in allowed for c in text)


def must_be_plain(data, what):
    text = data.decode() if isinstance(data, bytes) else data  # UTF-8, or it fails
    if not is_plain(text):
        bad = [c for c in text if not is_plain(c)]
        raise AssertionError("%s: %r in it" % (what, bad[:10]))


def romount(daemon, *words):
    return client.Client(daemon).run(*words).stdout


def look_at_notes(daemon):
    must_be_plain(rig.read(daemon.log), "romountd's log")
    for name in os.listdir(os.fsencode(daemon.root)):
        if not NAME.match(name.decode()):
            raise AssertionError("a folder is named %r" % name)
        for which in ("BOARD.txt", "STATUS.txt"):
            with contextlib.suppress(FileNotFoundError):
                must_be_plain(rig.read(os.path.join(daemon.root, name.decode(), which)), which)


def peak(pid):
    """KiB of memory that the process had at most."""
    with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


def look_at_memory(daemon):
    if "ASAN_OPTIONS" in os.environ:
        return
    for pid in [daemon.process.pid, *daemon.board_pids()]:
        have = peak(pid)
        if have > MEMORY_KIB:
            raise AssertionError("process %d had %d KiB" % (pid, have))


class Good:
    """The board of somebody else: it goes on, whatever the others do."""

    def __init__(self, case):
        self.port = Port(case, "good", uid="e66143aaaaaaaaaa")
        self.counter = 0

    def works(self, daemon):
        self.counter += 1
        folder = daemon.wait_shown("good")
        boards.put(folder, "g%d.bin" % (self.counter % 4), "good %d" % self.counter)
        rig.run("sync", folder)
        self.port.partition().must_show(rig.tree(folder), "the other board's flash")


def start(case, *evil, config=""):
    good = Good(case)
    daemon = Daemon(case, *evil, good.port, config=config)
    good.works(daemon)
    return daemon, good


def end(daemon, good):
    if daemon.process.poll() is not None:
        raise AssertionError("romountd has ended:\n" + daemon.said()[-2000:])
    good.works(daemon)
    look_at_notes(daemon)
    look_at_memory(daemon)
    finish(daemon)


def flashed(case, alias, images, size="256K"):
    """A board whose partitions hold these images."""
    directory = case.fresh("flashed")
    for number, image in enumerate(images):
        rig.write(os.path.join(directory, "flash.%d" % number),
                  image.ljust(int(size[:-1]) << 10, b"\xff"))
    port = Port(case, alias, *["block:" + size] * len(images), directory=directory,
                uid=os.urandom(8).hex())
    for number, image in enumerate(images):
        rig.equal(port.partition(number).bytes()[:len(image)], image, "flash as it was made")
    return port


def settled(daemon, alias, number=0):
    """Its folder, or None when STATUS.txt tells why there is none."""
    def check():
        if daemon.is_shown(alias, number):
            return daemon.wait_shown(alias, number)
        with contextlib.suppress(FileNotFoundError):
            text = daemon.note(alias)
            return "cannot be used" in text or "no ROM partitions" in text

    found = wait_for(check, "%s to be shown, or refused" % alias)
    return found if isinstance(found, str) else None


def walk(folder):
    """Everything that can be read there: paths, and errors of reading."""
    found = []
    for at, folders, files in os.walk(os.fsencode(folder), onerror=lambda e: None):
        for name in folders + files:
            found.append(os.path.relpath(os.path.join(at, name), os.fsencode(folder)))
        for name in files[:50]:
            with contextlib.suppress(OSError):
                with open(os.path.join(at, name), "rb") as f:
                    if len(f.read(1 << 20)) > 1 << 20:
                        raise AssertionError("more bytes than flash has")
    return found


# --- 1 to 3: images -------------------------------------------------------------------------


def images(case, table):
    """All of them at once: four partitions a board."""
    names = list(table)
    groups = [names[i:i + 4] for i in range(0, len(names), 4)]
    ports = [flashed(case, "evil%d" % i, [table[name] for name in group])
             for i, group in enumerate(groups)]
    daemon, good = start(case, *ports)
    for port, group in zip(ports, groups):
        for number, name in enumerate(group):
            with case.part(name):
                before = port.partition(number).bytes()
                folder = settled(daemon, port.alias, number)
                paths = walk(folder) if folder else []
                if len(paths) > 100000:
                    raise AssertionError("%d names" % len(paths))
                if port.partition(number).bytes() != before:
                    raise AssertionError("flash was written")
                good.works(daemon)
    look_at_memory(daemon)
    end(daemon, good)


def parser(case):
    images(case, hostile.PARSER)


def caps(case):
    images(case, hostile.CAPS)


def names(case):
    """A folder shows no name that leads elsewhere, and nothing prints one raw."""
    port = flashed(case, "evil", [hostile.names_image()])
    daemon, good = start(case, port)
    folder = daemon.wait_shown("evil")
    shown = os.listdir(os.fsencode(folder))
    if b"plain" not in shown:
        raise AssertionError("a good file is missing: %r" % shown)
    rig.equal(len(shown), len(set(shown)), "names that are twice")
    for name in walk(folder):
        for part in name.split(b"/"):
            if part in (b"", b".", b"..") or len(part) > 255:
                raise AssertionError("a file is named %r" % name)
    # A name as it is on flash is the folder's; whoever prints it makes it harmless.
    for words in (["list"], ["info", "evil"], ["layout", "evil"], ["verify", "evil"]):
        must_be_plain(romount(daemon, *words), "romount " + words[0])
    for path in ("/etc/evil", os.path.join(daemon.root, "evil", "evil"),
                 os.path.join(daemon.root, "evil.txt")):
        rig.equal(os.path.lexists(path), False, path)
    end(daemon, good)


# --- 4, 5: what a board says ----------------------------------------------------------------


def repl(case):
    """No answer is believed or run; all of these at once, and the other board works."""
    ports = {what: hostile.FakePort(case, "evil%d" % i, reply)
             for i, (what, reply) in enumerate(hostile.REPLIES.items())}
    daemon, good = start(case, *ports.values())
    for what, port in ports.items():
        with case.part(what):
            daemon.wait_note(port.alias, "cannot be used")
            rig.equal(daemon.is_shown(port.alias), False, "a folder")
            if not port.received:
                raise AssertionError("nobody asked it")
            good.works(daemon)
    rig.equal(os.path.lexists("/tmp/owned"), False, "what a board has made us run")
    look_at_memory(daemon)
    for port in ports.values():
        port.unplug()
        daemon.wait_gone(port.alias)
    end(daemon, good)


def sizes(case):
    """Refused, or seen through; nothing is erased."""
    ports = {}
    for i, (what, lie) in enumerate(hostile.LIES.items()):
        ports[what] = hostile.lying_port(
            case, "liar%d" % i, hostile.LIE % {**hostile.USUAL, **lie}, uid="e6614455%08x" % i)
    daemon, good = start(case, *ports.values())
    for what, port in ports.items():
        with case.part(what):
            folder = settled(daemon, port.alias)
            if folder:
                walk(folder)
            stats = port.board.stats()
            rig.equal((stats["erases"], stats["programs"]), (0, 0), "changes of flash")
    look_at_memory(daemon)
    end(daemon, good)


def texts(case):
    """Escapes and formats in what a board calls itself are shown harmless; with newlines, its
    answer is no answer."""
    line = hostile.ESCAPES.replace("\r\n", " ")
    port = Port(case, "evil", machine="%s%n" + line + "$(touch /tmp/owned)", platform=line)
    broken = Port(case, "broken", machine=hostile.ESCAPES)
    daemon, good = start(case, port, broken)
    daemon.wait_shown("evil")
    daemon.wait_note("broken", "cannot be used")
    daemon.wait_note("evil", "%s%n", "BOARD.txt")
    must_be_plain(romount(daemon, "list"), "romount list")
    must_be_plain(romount(daemon, "info", "evil"), "romount info")
    must_be_plain(romount(daemon, "list", "--json"), "romount list --json")
    rig.equal(os.path.lexists("/tmp/owned"), False, "what a board has made us run")
    end(daemon, good)


# --- 6 to 8: directories --------------------------------------------------------------------

ALIASES = ("../../evil", "..", ".hidden", "a/b", "-rf", "x" * 300, "\x1b[31m", "%s%n", "a b",
           "$(id)", "\u202e", "a\nb")


def dirnames(case):
    """Made harmless, or refused with a reason; never a directory of that name."""
    for alias in ALIASES:
        with case.part(repr(alias[:20])):
            port = Port(case, alias)
            daemon = Daemon(case, started=False)
            daemon.ports = (port,)
            daemon.start()
            # Whoever refuses it ends, or goes on without this board.
            wait_for(lambda: daemon.process.poll() is not None or mounts_below(daemon.root),
                     "an end, or a folder")
            look_at_notes(daemon)
            rig.equal([n for n in os.listdir(daemon.root) if not NAME.match(n)], [], "names")
            if daemon.process.poll() is None:
                finish(daemon)
            else:
                rig.equal(daemon.process.poll(), 2, "exit code of one that refuses")
                daemon.process = None


def foreign_flash(case):
    """What was staged for one image never goes over another: it is kept, and told."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    folder = daemon.wait_shown("pico")
    boards.put(folder, "old.bin", "old")
    rig.run("sync", folder)
    staged = boards.put(folder, "staged.bin", "staged")
    port.unplug()
    daemon.wait_gone("pico")
    other = hostile.romfs.build({b"other.txt": b"another image"}).ljust(256 << 10, b"\xff")
    rig.write(os.path.join(port.board.directory, "flash.0"), other)
    port.plug()
    folder = daemon.wait_shown("pico")
    rig.equal(os.listdir(folder), ["other.txt"], "the folder")
    rig.run("sync", folder)
    rig.equal(port.partition().bytes() == other, True, "flash as the other program left it")
    held = [os.path.join(at, name) for at, _, files in os.walk(daemon.state) for name in files
            if name == "staged.bin"]
    rig.equal([rig.sha(rig.read(path)) for path in held], [staged], "what was staged")
    if "held-" not in daemon.said():
        raise AssertionError("nobody told where it is:\n" + daemon.said()[-1500:])
    finish(daemon)


def mount_root(case):
    """It is ours, 0755, and no link; what is in the way below it is left alone."""
    daemon = Daemon(case)
    wait_for(lambda: os.listdir(os.path.dirname(daemon.env["ROMOUNT_SOCKET"])), "romountd")
    daemon.end()
    real = case.fresh("real")
    with case.part("a link"):
        os.rmdir(daemon.root)
        os.symlink(real, daemon.root)
        daemon.start()
        rig.equal(daemon.process.wait(rig.WAIT), 1, "exit code")
        rig.equal(os.listdir(real), [], "behind the link")
        os.unlink(daemon.root)
    with case.part("it makes it"):
        daemon.ports = (Port(case, "pico"),)
        daemon.start()
        daemon.wait_shown("pico")
        status = os.stat(daemon.root)
        rig.equal((stat.S_IMODE(status.st_mode), status.st_uid), (0o755, os.geteuid()), "root")
        finish(daemon)
    if ROOT:
        with case.part("a mount"):
            path = os.path.join(daemon.root, "pico")
            os.mkdir(path)
            rig.run("mount", "-t", "tmpfs", "none", path)
            try:
                daemon.start()
                daemon.wait_shown("pico-2")
                rig.equal(os.listdir(path), [], "what is mounted there")
                daemon.process.send_signal(signal.SIGTERM)
                daemon.process.wait(rig.WAIT)
            finally:
                rig.run("umount", path)
    boards.occupied(case)
    boards.unsafe_root(case)


# --- 9, 10: other users ---------------------------------------------------------------------


def as_nobody(*argv):
    return subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *argv],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def options(case):
    """nosuid, nodev, noexec, default_permissions, one user's; nobody else gets in."""
    port = Port(case, "pico")
    daemon = Daemon(case, port)
    folder = daemon.wait_shown("pico")
    boards.put(folder, "a.bin", "a")
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        fields = [line.split() for line in f if line.split()[4] == folder][0]
    words = set(fields[5].split(",")) | set(fields[-1].split(","))
    missing = {"nosuid", "nodev", "noexec", "default_permissions"} - words
    rig.equal((missing, "allow_other" in words), (set(), False), "options of the mount")
    rig.equal("user_id=%d" % os.stat(folder).st_uid in words, True, "its user")
    script = os.path.join(folder, "run.sh")
    rig.write(script, b"#!/bin/sh\n")
    with rig.refused(rig.errno.EACCES):
        subprocess.run([script], check=False)
    for change, code in ((lambda: os.mknod(script + "2", 0o600 | stat.S_IFCHR, 0x103), None),
                         (lambda: os.chmod(script, 0o4755), None)):
        with contextlib.suppress(OSError):
            change()
    mode = os.stat(script).st_mode
    rig.equal(mode & (stat.S_ISUID | stat.S_ISGID), 0, "bits of another user")
    rig.equal(os.path.lexists(script + "2"), False, "a device")
    if ROOT:
        os.chmod(case.directory, 0o755)
        result = as_nobody("ls", folder)
        if result.returncode == 0:
            raise AssertionError("another user sees %r" % result.stdout)
        for path in (daemon.state, folder):
            if as_nobody("sh", "-c", "echo x >'%s/by-nobody'" % path).returncode == 0:
                raise AssertionError("another user writes to " + path)
        for ident in os.listdir(daemon.state):
            if as_nobody("ls", os.path.join(daemon.state, ident)).returncode == 0:
                raise AssertionError("another user looks into " + ident)
        for pid in daemon.board_pids():
            with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as f:
                lines = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
            rig.equal(lines["Uid"].split()[0] == "0", False, "a board's process is root's")
            rig.equal((lines["NoNewPrivs"], lines["Seccomp"], int(lines["CapEff"], 16)),
                      ("1", "2", 0), "what a board's process may")
    finish(daemon)


BAD_NAMES = (b"", b"/", b"..", b"../good", b"good/rom0", b"good\x1b[2J", b"a" * 10000,
             b"\xc2\x80", b"%n%s", b"/dev/../etc/passwd", b"good ")


def control_socket(case):
    """Only who may gets an answer; names that are none are refused; garbage ends nothing."""
    daemon, good = start(case)
    path = daemon.env["ROMOUNT_SOCKET"]
    mode = stat.S_IMODE(os.stat(path).st_mode)
    rig.equal(mode, 0o666 if ROOT else 0o600, "mode of the socket")
    caller = hostile.RawClient(path).log_in()
    manager = (b"/org/romount1", b"org.romount1.Manager")
    with case.part("names"):
        for name in BAD_NAMES:
            error = caller.call(*manager, b"FindBoard", b"s", caller.string(name))
            if not error:
                raise AssertionError("there is a board named %r" % name)
        rig.equal(caller.call(*manager, b"FindBoard", b"s", caller.string(b"good")), None, "good")
    with case.part("aliases"):
        for key, value in ((b"alias", b"../x"), (b"alias", b"/etc"), (b"alias", b"a" * 10000),
                           (b"tty", b"../../dev/tty"), (b"tty", b"/" + b"x" * 9000),
                           (b"socket", b"no port")):
            entry = caller.pad(caller.string(key) + b"\x01s\0", 4) + caller.string(value)
            body = hostile.struct.pack("<II", len(entry), 0) + entry
            if not caller.call(*manager, b"AddBoard", b"a{sv}", body):
                raise AssertionError("%r=%r is taken" % (key, value[:30]))
    with case.part("not D-Bus"):
        rng = random.Random(rig.SEED)
        for what in (b"\xff" * 100000, b"\0AUTH EXTERNAL 30\r\n" * 5000, b"GET / HTTP/1.1\r\n\r\n",
                     b"\0AUTH ANONYMOUS\r\nBEGIN\r\n" + rng.randbytes(50000),
                     b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\x01\0\x01" + b"\xff" * 40000):
            raw = hostile.RawClient(path)
            with contextlib.suppress(OSError):
                raw.socket.sendall(what)
            raw.close()
        rest = []
        for _ in range(400):
            with contextlib.suppress(OSError):
                rest.append(hostile.RawClient(path))
        good.works(daemon)
        for raw in rest:
            raw.close()
        with contextlib.suppress(OSError, hostile.Refused):
            # A body that breaks its signature: the link may end, romountd may not.
            hostile.RawClient(path).log_in().call(*manager, b"FindBoard", b"s", b"\xff" * 64)
        wait_for(lambda: "good" in romount(daemon, "list"), "an answer after all that")
    if ROOT:
        with case.part("another user"):
            other_user(case, daemon)
    caller.close()
    look_at_memory(daemon)
    end(daemon, good)


def other_user(case, daemon):
    os.chmod(case.directory, 0o755)
    os.chmod(os.path.dirname(daemon.env["ROMOUNT_SOCKET"]), 0o755)
    env = ["env", "ROMOUNT_SOCKET=" + daemon.env["ROMOUNT_SOCKET"], rig.ROMOUNT]
    result = as_nobody(*env, "list")
    if result.returncode != 0 or b"good" in result.stdout:
        raise AssertionError("another user sees: %r" % result)
    for words in (["sync", "good"], ["eject", "good"], ["format", "--yes", "good"],
                  ["save", "good", "/tmp/owned"]):
        result = as_nobody(*env, *words)
        if result.returncode == 0:
            raise AssertionError("another user may %s" % words[0])
    daemon.wait_shown("good")


# --- 11 to 13: time -------------------------------------------------------------------------


class Sync:
    """fsync of a folder, by a thread: what it ended with, and when."""

    def __init__(self, folder):
        self.error = self.seconds = None
        self.start = rig.time.monotonic()
        self.thread = threading.Thread(target=self.run, args=(folder,))
        self.thread.start()

    def run(self, folder):
        try:
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as e:
            self.error = e.errno
        self.seconds = rig.time.monotonic() - self.start

    def runs(self):
        return self.thread.is_alive()

    def wait(self, seconds):
        self.thread.join(seconds)
        return not self.runs()


def stuck():
    """Processes that cannot even be killed."""
    return [pid for pid in rig.children() if b") D " in rig.read("/proc/%d/stat" % pid)]


def unplug(case):
    """At any byte of a transfer: an error soon, the folder gone, no process that hangs; and all
    is there again when the board is."""
    port = Port(case, "pico", speed=150000)
    daemon = Daemon(case, port, config=SLOW)
    rng = random.Random("%s unplug" % rig.SEED)
    errors = (rig.errno.EIO, rig.errno.ENODEV, rig.errno.ENOTCONN, rig.errno.ECONNABORTED)
    slowest = 0
    for number in range(int(os.environ.get("ROMOUNT_UNPLUGS", "12"))):
        folder = daemon.wait_shown("pico")
        boards.put(folder, "f%d.bin" % (number % 3), number, rng.randrange(1, 40000))
        want = rig.tree(folder)
        at = rng.randrange(1, 60000)
        begin = port.board.stats()["bytes_in"]
        pids = daemon.board_pids()
        sync = Sync(folder)
        wait_for(lambda: not sync.runs() or port.board.stats()["bytes_in"] >= begin + at,
                 "%d bytes on the line" % at)
        port.unplug()
        what = "unplug %d, after %d bytes" % (number, at)
        pulled = rig.time.monotonic()
        if not sync.wait(GONE_S):
            raise AssertionError("%s: sync hangs" % what)
        if sync.error not in (None, *errors):
            raise AssertionError("%s: sync says %s" % (what, os.strerror(sync.error)))
        daemon.wait_gone("pico")
        wait_for(lambda: not set(pids) & set(daemon.board_pids()), "the end of its process")
        slowest = max(slowest, rig.time.monotonic() - pulled)
        if slowest > GONE_S:
            raise AssertionError("%s: it took %.1f s" % (what, slowest))
        rig.equal((mounts_below(daemon.root), stuck()), ([], []), what)
        port.plug()
        rig.equal_trees(rig.tree(daemon.wait_shown("pico")), want, what)
    folder = daemon.wait_shown("pico")
    rig.run("sync", folder)
    port.partition().must_show(rig.tree(folder))
    print("# from the unplug to the end: %.1f s at most" % slowest, flush=True)
    finish(daemon)


def hung_board(case, port, how):
    with case.part(how):
        daemon, good = start(case, port, config=SLOW)
        folder = daemon.wait_shown("evil")
        digest = boards.put(folder, "a.bin", how, 60000)
        if how == "stopped":
            port.board.process.send_signal(signal.SIGSTOP)
            port.board.stopped = True
        else:
            port.board.set("hang-at", port.board.stats()["ops"] + 1)
        sync = Sync(folder)
        for _ in range(5):
            good.works(daemon)
        if not sync.runs():
            raise AssertionError("the sync of the board that hangs has ended first")
        # The kernel lists no directory while somebody waits in fsync(2) of it.
        rig.equal(rig.sha(rig.read(os.path.join(folder, "a.bin"))), digest, "the file meanwhile")
        if not sync.runs():
            raise AssertionError("the file was read after the sync had ended")
        port.board.process.send_signal(signal.SIGCONT)
        port.unplug()
        if not sync.wait(GONE_S):
            raise AssertionError("its sync hangs after the unplug")
        end(daemon, good)


def delays(case):
    """Boards that hang in the middle, or flood: the other one's sync comes first."""
    hung_board(case, Port(case, "evil", uid="e66143bbbbbbbbb1"), "stopped")
    hung_board(case, Port(case, "evil", uid="e66143bbbbbbbbb2"), "hangs in flash")
    with case.part("processes that flood"):
        port = Port(case, "evil")
        daemon = Daemon(case, port, hostile="flood")
        daemon.wait_note("evil", "its process")
        look_at_memory(daemon)
        finish(daemon)


# --- 14, 15: ports --------------------------------------------------------------------------


def unknown_ports(case):
    """Who was not named is not opened."""
    other = hostile.FakePort(case, "unknown", hostile.REPLIES["noise"])
    silent = case.board("block:64K")
    silent.reset()
    daemon, good = start(case)
    good.works(daemon)
    rig.equal((other.received, silent.stats()["bytes_in"]), (0, 0), "bytes that came")
    rig.equal(os.listdir(daemon.root), ["good"], "folders")
    end(daemon, good)


def present_before(case):
    """Boards that are there when romountd starts, and one that comes later."""
    early = Port(case, "early", uid="e661430000000001")
    late = Port(case, "late", uid="e661430000000002")
    late.unplug()
    daemon, good = start(case, early, late)
    daemon.wait_shown("early")
    rig.equal(os.path.lexists(os.path.join(daemon.root, "late")), False, "one that is away")
    late.plug()
    daemon.wait_shown("late")
    end(daemon, good)


CASES = [
    ("1_parser", parser), ("2_caps", caps), ("3_names", names), ("4_repl", repl),
    ("5_sizes", sizes), ("6_directory_names", dirnames), ("6_texts", texts),
    ("7_twins", boards.twins), ("7_foreign_flash", foreign_flash), ("8_mount_root", mount_root),
    ("9_mount_options", options), ("10_socket", control_socket), ("11_unplug", unplug),
    ("12_process_killed", boards.process_killed), ("12_romountd_killed", boards.daemon_killed),
    ("13_delays", delays), ("14_unknown_ports", unknown_ports),
    ("15_present_before", present_before),
]
