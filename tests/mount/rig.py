# SPDX-License-Identifier: MIT
"""What the suites of mounted folders share: boards, mounts, tools, comparing, cleaning up.

A suite is a list of functions that get a Case. All of them run as an ordinary user: whoever
starts a suite as root sees it go on as ROMOUNT_TEST_USER. Every process of a case ends with
it, by its pid; a case that hangs loses its mounts, and so ends as well. A program of
romount that dies, exits with another code than expected, or makes a sanitizer speak, fails
the case that it served.
"""

import contextlib
import ctypes
import errno
import functools
import glob
import hashlib
import json
import os
import pwd
import random
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SRCDIR = os.environ.get(
    "SRCDIR", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
)
BUILDDIR = os.environ.get("BUILDDIR", os.path.join(SRCDIR, "build"))
ROMOUNT = os.path.join(BUILDDIR, "romount")
os.environ["BOARD"] = os.path.join(BUILDDIR, "tests/board/board")
sys.path.insert(0, os.path.join(SRCDIR, "tests/board"))
import emulated  # noqa: E402

# A sanitizer makes everything slower; these are there against hanging only.
WAIT = 120  # for one command, or for the end of a process
CASE_WAIT = 420  # for a case
SEED = int(os.environ.get("SEED", "1"))

BOARD_KINDS = ("block", "partial", "oldpartial", "whole", "mram")
KINDS = BOARD_KINDS + ("image",)

# --- running as somebody else ---------------------------------------------------------------


def allow_fuse():
    """What udev's rules do where udev runs."""
    if os.geteuid() == 0 and stat.S_IMODE(os.stat("/dev/fuse").st_mode) != 0o666:
        os.chmod("/dev/fuse", 0o666)


def become_ordinary():
    """Starts this program again as the user of the tests, unless that is so."""
    if os.geteuid() != 0:
        return
    name = os.environ.get("ROMOUNT_TEST_USER", "romount-test")
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        sys.exit("rig: no user %s; tools/check makes it, or run this as an ordinary user" % name)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    # A new program image, so that /proc/self is the user's as well.
    os.chdir("/")
    os.execv("/usr/bin/python3", ["python3", "-B", *sys.argv])


def adopt_orphans():
    """romount goes on in the background; here it becomes ours, so that we can wait for it."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def children():
    """{pid: name} of our children."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, "rb") as f:
                head, _, tail = f.read().rpartition(b")")
        except OSError:
            continue
        fields = tail.split()
        if int(fields[1]) == os.getpid():
            pid, _, name = head.partition(b" (")
            found[int(pid)] = name.decode(errors="replace")
    return found


# --- commands -------------------------------------------------------------------------------


class Failed(Exception):
    """A command ended otherwise than it should."""


def show(argv):
    return " ".join(str(word) for word in argv)


def run(*argv, code=0, wait=WAIT, **rest):
    """Runs a command: its output, and its complaints. `code` None: any will do."""
    # A session of its own: what it has started must end with it.
    with subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL if "input" not in rest else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **{key: value for key, value in rest.items() if key != "input"},
    ) as process:
        try:
            out, complaints = process.communicate(rest.get("input"), timeout=wait)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
    result = subprocess.CompletedProcess(
        argv, process.returncode, out.decode(errors="replace"),
        complaints.decode(errors="replace"),
    )
    if code is not None and result.returncode != code:
        raise Failed(
            "'%s' ended with %d:\n%s%s"
            % (show(argv), result.returncode, result.stdout[-1500:], result.stderr[-1500:])
        )
    return result


def equal(have, want, what=""):
    if have != want:
        raise AssertionError("%s%r, wanted %r" % (what and what + ": ", have, want))


def differences(have, want):
    """The first few keys whose values differ, for people."""
    keys = [key for key in sorted(set(have) | set(want)) if have.get(key) != want.get(key)]
    lines = ["%s: %r, wanted %r" % (key, have.get(key), want.get(key)) for key in keys[:8]]
    return "%d differences\n%s" % (len(keys), "\n".join(lines))


def equal_trees(have, want, what):
    if have != want:
        raise AssertionError("%s: %s" % (what, differences(have, want)))


@contextlib.contextmanager
def refused(*codes):
    """The body must fail with one of these errno."""
    try:
        yield
    except OSError as e:
        if e.errno in codes:
            return
        raise
    names = ", ".join(errno.errorcode[code] for code in codes)
    raise AssertionError("it was not refused with " + names)


def pause():
    """Between two looks at something that tells nobody when it changes."""
    time.sleep(0.02)


# --- trees ----------------------------------------------------------------------------------


def write(path, data):
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def noise(seed, size):
    return random.Random("%s %s" % (SEED, seed)).randbytes(size)


def tree(top, leave_out=()):
    """{path: hash of a file, or "dir"}: what a folder shows."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), top)] = "dir"
        for name in files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = sha(read(path))
    return {path: value for path, value in found.items() if path not in leave_out}


def times(top):
    """{path: modification time in nanoseconds} of its files."""
    found = {}
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = os.stat(path).st_mtime_ns
    return found


def make_tree(top, seed="tree", files=30, size=3000):
    """A project of folders and files, with times of long ago; some empty, some the same."""
    rng = random.Random("%s %s" % (SEED, seed))
    for i in range(files):
        folder = rng.choice(["", "lib", "lib/sub", "data/deep/er", "empty/but/not"])
        length = rng.choice([0, 1, 255, 256, 257, 4096, rng.randrange(size), size])
        path = os.path.join(top, folder, "file%d.bin" % i)
        write(path, rng.randbytes(length))
        os.utime(path, ns=(10**18 + i, 10**18 + rng.randrange(10**17)))
    os.makedirs(os.path.join(top, "hollow"), exist_ok=True)
    write(os.path.join(top, "main_part.py"), b"answer = 42\n")
    write(os.path.join(top, "pkg/__init__.py"), b"from .inner import value\n")
    write(os.path.join(top, "pkg/inner.py"), b"value = 'from flash'\n")
    return top


def exchange(one, other):
    """renameat2 with RENAME_EXCHANGE, which Python has not."""
    AT_FDCWD, RENAME_EXCHANGE = -100, 2
    names = [os.fsencode(path) for path in (one, other)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), one)


# --- what is mounted ------------------------------------------------------------------------


class Target:
    """A partition of a board, or an image file, and what MicroPython sees there."""

    def shown(self):
        """{path: hash of a file, or "dir"} by the VfsRom of MicroPython."""
        answer = self.ask()
        for bad in ("error", "duplicates", "outside"):
            if bad in answer:
                raise AssertionError("on flash: %s: %s" % (bad, answer[bad]))
        found = {path: entry["sha256"] for path, entry in answer["files"].items()}
        found.update((path, "dir") for path in answer["dirs"])
        return found

    def must_show(self, want, what="on flash"):
        equal_trees(self.shown(), want, what)


class Partition(Target):
    def __init__(self, board, number):
        self.board, self.number, self.path = board, number, board.port

    def ask(self):
        return self.board.control("tree %d" % self.number)

    def module(self, name, attribute=""):
        answer = self.board.control(("import %d %s %s" % (self.number, name, attribute)).strip())
        if "error" in answer:
            raise AssertionError("import %s: %s" % (name, answer["error"]))
        return answer["repr"]

    def bytes(self):
        path = os.path.join(self.board.directory, "dump")
        answer = self.board.control("dump %d %s" % (self.number, path))
        equal(answer, {"ok": True}, "dump")
        return read(path)

    def flip(self, offset):
        """A bit of flash turns over, and nobody has done anything."""
        equal(self.board.control("flip %d %d" % (self.number, offset)), {"ok": True}, "flip")


class Image(Target):
    number = 0

    def __init__(self, path, size):
        self.path, self.size = path, size

    def ask(self):
        out = run(os.path.join(SRCDIR, "tests/board/vfsrom"), self.path).stdout
        return json.loads(out)

    def bytes(self):
        return read(self.path)


class Mount:
    """A folder, and the process behind it."""

    def __init__(self, case, target, folder, state, options, code):
        self.case, self.target, self.path, self.state = case, target, folder, state
        self.options = options
        self.pid = self.pidfd = None
        before = children()
        argv = [ROMOUNT, "mount", "--state", state, *options]
        if target.number:
            argv += ["-p", target.number]
        start = time.perf_counter()
        self.result = run(*argv, target.path, folder, code=code, env=case.env)
        self.seconds = time.perf_counter() - start
        self.notes = self.result.stderr
        started = [pid for pid, name in children().items() if pid not in before]
        if self.result.returncode == 0:
            equal(len(started), 1, "processes in the background")
            self.pid = started[0]
            self.pidfd = os.pidfd_open(self.pid)
            case.mounts.append(self)

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def sync(self):
        run("sync", self.path)

    def attribute(self, name, path=""):
        full = os.path.join(self.path, path) if path else self.path
        return os.getxattr(full, "user.romount." + name).decode()

    def tree(self, leave_out=()):
        return tree(self.path, leave_out)

    def is_mounted(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            return any(line.split()[4] == self.path for line in f)

    def send(self, number):
        signal.pidfd_send_signal(self.pidfd, number)

    def end(self, code=0, wait=WAIT):
        """Waits for the process, which must end like this."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(wait * 1000):
            raise AssertionError("romount (pid %d) does not end" % self.pid)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid = self.pidfd = None
        self.case.mounts.remove(self)
        have = os.waitstatus_to_exitcode(status)
        if code is not None:
            equal(have, code, "exit code of romount")

    def unmount(self, code=0):
        run("fusermount3", "-u", self.path)
        self.end(code)

    def again(self, fresh=True, options=None):
        """Unmounts, and mounts again: from flash alone, or with what the host knows."""
        self.unmount()
        state = self.case.fresh("state") if fresh else self.state
        return Mount(
            self.case, self.target, self.path, state,
            self.options if options is None else options, 0,
        )

    def kill(self):
        """The end of a case: whatever is left must go, at any price."""
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        self.pid = self.pidfd = None
        run("fusermount3", "-u", "-z", self.path, code=None)


class Board(emulated.Board):
    def partition(self, number=0):
        return Partition(self, number)

    def stats(self):
        return self.control("stats")

    def reset(self):
        equal(self.control("reset"), {"ok": True}, "reset")

    def set(self, key, value):
        equal(self.control("set %s %s" % (key, value)), {"ok": True}, "set " + key)


# --- cases ----------------------------------------------------------------------------------


class Case:
    def __init__(self, name, report):
        self.name, self.report = name, report
        self.directory = tempfile.mkdtemp(prefix="romount-")
        self.boards, self.mounts, self.rest = [], [], contextlib.ExitStack()
        self.counter = 0
        self.env = self.make_env()
        self.hung = False

    def make_env(self):
        env = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        env["HOME"] = self.directory
        env["LC_ALL"] = "C.UTF-8"
        log = os.path.join(self.directory, "sanitizer")
        for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            env[key] = ":".join(filter(None, [env.get(key), "log_path=" + log]))
        return env

    def fresh(self, name, make=True):
        self.counter += 1
        path = os.path.join(self.directory, "%s%d" % (name, self.counter))
        if make:
            os.mkdir(path)
        return path

    # --- things that end with the case ---

    def board(self, *partitions, **options):
        """A board; options as in control="x", fail_sticky=True."""
        directory = options.pop("directory", None) or self.fresh("board")
        words = []
        for partition in partitions:
            words += ["--partition", partition]
        for key, value in options.items():
            words.append("--" + key.replace("_", "-"))
            if value is not True:
                words.append(str(value))
        board = Board(*words, directory=directory)
        self.boards.append(board)
        return board

    def targets(self, kind, count=1, size="512K", **options):
        """`count` partitions of one board, or as many image files."""
        if kind == "image":
            images = []
            for _ in range(count):
                path = self.fresh("image", make=False)
                write(path, b"")
                images.append(Image(path, size))
            return images
        board = self.board(*["%s:%s" % (kind, size)] * count, **options)
        return [board.partition(n) for n in range(count)]

    def mount(self, target, *options, state=None, folder=None, code=0):
        if isinstance(target, Image) and "--size" not in options:
            options = ("--size", target.size, *options)
        folder = folder or self.fresh("rom")
        return Mount(self, target, folder, state or self.fresh("state"), options, code)

    @contextlib.contextmanager
    def program(self, *argv, **rest):
        """A command that runs meanwhile."""
        with subprocess.Popen([str(word) for word in argv], **rest) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    # --- parts ---

    @contextlib.contextmanager
    def part(self, name):
        """One of the things that a case tests, with a line of its own."""
        before = self.report.failures
        start = time.monotonic()
        try:
            yield
        except Exception as e:
            self.report.failed("%s: %s" % (self.name, name), e)
        else:
            if self.report.failures == before:
                self.report.passed("%s: %s" % (self.name, name))
        seconds = time.monotonic() - start
        if seconds > 2:
            print("#     that took %.1f s" % seconds, flush=True)

    # --- the end ---

    def on_hang(self):
        """Called by another thread. Without its mounts nothing can go on hanging."""
        self.hung = True
        for mount in list(self.mounts):
            with contextlib.suppress(OSError):
                mount.send(signal.SIGKILL)
        for board in self.boards:
            board.process.kill()

    def check_sanitizers(self):
        reports = glob.glob(os.path.join(self.directory, "sanitizer.*"))
        text = "\n".join(read(path).decode(errors="replace") for path in reports)
        if text:
            print(text, flush=True)
            raise AssertionError("a sanitizer speaks; see above")

    def check_boards(self):
        """A violation is what a real board would have suffered from."""
        for board in self.boards:
            if board.process.poll() is None and not getattr(board, "stopped", False):
                equal(board.stats()["violations"], 0, "violations")

    def finish(self):
        """Unmounts what is left as a user would."""
        for mount in list(self.mounts):
            mount.unmount()
        self.check_boards()

    def clean(self):
        for mount in list(self.mounts):
            mount.kill()
        for board in self.boards:
            if board.process.poll() is None:
                board.process.send_signal(signal.SIGCONT)
                board.unplug()
        self.rest.close()
        if os.environ.get("KEEP"):
            print("# kept: " + self.directory, flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)


class Report:
    def __init__(self):
        self.failures = 0

    def passed(self, name):
        print("ok " + name, flush=True)

    def skipped(self, name, why):
        print("skip %s - %s" % (name, why), flush=True)

    def failed(self, name, e):
        self.failures += 1
        text = str(e) or type(e).__name__
        print("not ok %s - %s" % (name, text.splitlines()[0]))
        print("".join(traceback.format_exception(type(e), e, e.__traceback__)))
        print("# again: SEED=%d %s '%s'" % (SEED, sys.argv[0], name.split(":")[0]), flush=True)


class Skip(Exception):
    pass


def run_case(name, function, report):
    case = Case(name, report)
    before = report.failures
    watch = threading.Timer(CASE_WAIT, case.on_hang)
    watch.start()
    start = time.monotonic()
    try:
        function(case)
        if not case.hung:
            case.finish()
        case.check_sanitizers()
        if case.hung:
            raise AssertionError("it hung")
        if report.failures == before:
            report.passed(name)
    except Skip as e:
        report.skipped(name, str(e))
    except Exception as e:
        if case.hung:
            e = AssertionError("it hung for %d s, then: %s" % (CASE_WAIT, e))
        report.failed(name, e)
        with contextlib.suppress(AssertionError):
            case.check_sanitizers()
    finally:
        watch.cancel()
        case.clean()
    print("# %s: %.1f s" % (name, time.monotonic() - start), flush=True)


def for_each(values, function):
    """Cases of one function: NAME/VALUE, called with the value."""
    name = function.__name__
    return [("%s/%s" % (name, v), functools.partial(function, value=v)) for v in values]


def main(cases, ordinary=True):
    """`cases`: functions, or (name, function). Arguments name those to run, by their
    beginnings."""
    allow_fuse()
    if ordinary:
        become_ordinary()
    adopt_orphans()
    # Whoever ends a suite early shall not find its mounts and boards still there.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("rig: ended by a signal"))
    # What somebody's shell has opened is none of ours.
    os.environ.pop("XDG_STATE_HOME", None)
    report = Report()
    wanted = tuple(sys.argv[1:])
    for case in cases:
        name, function = case if isinstance(case, tuple) else (case.__name__, case)
        if not wanted or name.startswith(wanted):
            run_case(name, function, report)
    sys.exit(1 if report.failures else 0)
