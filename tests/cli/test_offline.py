#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The commands that need no board: build, extract, ls, info, and how all of them speak.

Given BUILDDIR. Prints a line for each test; what is random comes from the seed that is
printed first, and that SEED in the environment repeats."""

import json
import os
import pty
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback

sys.dont_write_bytecode = True
import romfs_writer as rw  # noqa: E402

ROMOUNT = os.path.join(os.path.abspath(os.environ.get("BUILDDIR", ".")), "romount")
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
# A daemon that runs here is none of these tests' business.
ENV = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", "ROMOUNT_SOCKET": "/nonexistent/socket"}
for sanitizer in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
    # Not 1, which is how the program says that it refused something.
    ENV[sanitizer] = os.environ.get(sanitizer, "") + ":exitcode=99"
TESTS = []

SAMPLE = {
    b"main.py": b"print('hello')\n",
    b"empty": b"",
    b"data.bin": bytes(range(256)) * 40,
    b"lib": {b"util.py": b"x = 1\n", b"deep": {b"er": {b"f.txt": b"deep\n"}}},
    b"none": {},
    "größe.txt".encode(): b"umlaut\n",
    b"back\\slash": b"1",
}


def test(function):
    TESTS.append(function)
    return function


def run(*args, code=0, cwd=None, env=None):
    r = subprocess.run(
        [ROMOUNT, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        cwd=cwd,
        env={**ENV, **(env or {})},
        check=False,
    )
    assert r.returncode == code, (
        f"{args}: exit code {r.returncode}, not {code}\n"
        f"stdout: {r.stdout[-2000:]!r}\nstderr: {r.stderr[-2000:]!r}"
    )
    return r


def fails(*args, saying, code=1, cwd=None):
    """The command fails with one line (usage: more) that says what is expected."""
    err = run(*args, code=code, cwd=cwd).stderr.decode()
    assert re.search(saying, err), f"{args}: {err!r} does not say {saying!r}"
    assert code == 2 or err.count("\n") == 1, f"{args}: {err!r} is not one line"
    return err


def write_tree(path, tree):
    os.makedirs(path, exist_ok=True)
    for name, what in tree.items():
        full = os.path.join(os.fsencode(path), name)
        if isinstance(what, dict):
            write_tree(full, what)
        else:
            with open(full, "wb") as f:
                f.write(what)


def read_tree(path):
    tree = {}
    for entry in os.scandir(os.fsencode(path)):
        assert not entry.is_symlink(), f"{entry.path!r} is a link"
        if entry.is_dir():
            tree[entry.name] = read_tree(entry.path)
        else:
            tree[entry.name] = read(entry.path)
    return tree


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def info_json(*args, code=0):
    return json.loads(run("info", "--json", *args, code=code).stdout)


def random_tree(rng, files, depth):
    tree = {}
    for i in range(files):
        name = f"{rng.choice('abcXYZ_09')}{i}{rng.choice(['', '.py', '.mpy'])}".encode()
        tree[name] = rng.randbytes(rng.choice([0, 1, 2, 100, 127, 128, 129, 5000]))
    if depth:
        for i in range(rng.randrange(1, 4)):
            tree[f"d{i}".encode()] = random_tree(rng, rng.randrange(files + 1), depth - 1)
    return tree


# --- build ------------------------------------------------------------------------------


def built(tree, *options):
    write_tree("in", tree)
    run("build", "in", "-o", "out.img", *options)
    shutil.rmtree("in")
    return read("out.img")


@test
def build_equals_independent_writer():
    for tree in ({}, {b"a": b""}, {b"a": b"x"}, {b"d": {}}, SAMPLE):
        assert built(tree) == rw.build(tree), f"{tree!r} differs"


@test
def build_equals_independent_writer_at_every_length():
    """The length of a varuint and the padding of the header change with the size."""
    for n in (*range(100, 140), *range(16370, 16390)):
        assert built({b"f": b"z" * n}) == rw.build({b"f": b"z" * n}), f"{n} bytes"


@test
def build_equals_independent_writer_on_random_trees():
    rng = random.Random(SEED)
    for _ in range(20):
        tree = random_tree(rng, rng.randrange(0, 12), rng.randrange(0, 5))
        assert built(tree) == rw.build(tree)


@test
def build_of_2000_files():
    tree = {}
    at = tree
    for level in range(16):
        at[b"sub"] = {f"f{i:03}.py".encode(): b"%d %d" % (level, i) for i in range(125)}
        at = at[b"sub"]
    assert built(tree) == rw.build(tree)


@test
def build_names_the_image_after_the_directory():
    write_tree("project", SAMPLE)
    out = run("build", "project///").stdout.decode()
    assert read("project.romfs") == rw.build(SAMPLE)
    assert out == f"project.romfs: {len(rw.build(SAMPLE))} bytes, 7 files in 4 folders\n", out
    fails("build", ".", saying="gives the image no name", code=2)
    fails("build", "project/..", saying="gives the image no name", code=2)


@test
def build_keeps_the_old_image_when_it_fails():
    write("x.img", b"old")
    write_tree("in", {b"a": b"1"})
    os.symlink("nowhere", "in/dangling")
    fails("build", "in", "-o", "x.img", saying="in/dangling: this link leads nowhere")
    assert read("x.img") == b"old"
    assert sorted(os.listdir(".")) == ["in", "x.img"]


@test
def build_follows_links():
    write_tree("shared", {b"lib.py": b"shared\n"})
    write_tree("in", {b"own.py": b"own\n"})
    os.symlink("../shared", "in/lib")
    os.symlink("own.py", "in/alias.py")
    run("build", "in")
    tree = {b"own.py": b"own\n", b"alias.py": b"own\n", b"lib": {b"lib.py": b"shared\n"}}
    assert read("in.romfs") == rw.build(tree)


@test
def build_refuses_what_cannot_be_packed():
    cases = [
        ("loop", lambda p: os.symlink("..", p), "leads back to a directory above"),
        ("pipe", os.mkfifo, "neither a file nor a directory"),
        ("gone", lambda p: os.symlink("nowhere", p), "leads nowhere"),
        (b"bad\xff\x1b", lambda p: write(p, b""), r"bad\?\?: the name is not UTF-8"),
        ("sock", lambda p: socket.socket(socket.AF_UNIX).bind(p), "neither a file"),
    ]
    for name, make, saying in cases:
        write_tree("in/sub", {})
        make(os.path.join(b"in/sub", os.fsencode(name)) if isinstance(name, bytes)
             else f"in/sub/{name}")
        fails("build", "in", saying=saying)
        assert not os.path.exists("in.romfs")
        shutil.rmtree("in")
    fails("build", "missing", saying="cannot open missing: No such file")
    deep = "in" + "/d" * 65
    os.makedirs(deep)
    fails("build", "in", saying="nested too deep")


@test
def build_refuses_to_pack_the_image_into_itself():
    write_tree("in", {b"a": b"1"})
    run("build", "in", "-o", "in/a.img")
    fails("build", "in", "-o", "in/a.img", saying="packed into itself")
    fails("build", "in", "-o", "/dev/null", saying="not a regular file")


@test
def build_aligns():
    tree = {b"a.tflite": b"m" * 100, b"b.txt": b"t", b"sub": {b"c.tflite": b"n" * 33}}
    for n in (1, 2, 16, 32, 4096, 65536):
        bytes_ = built(tree, "--align", f"*.tflite={n}")
        layout = info_json("out.img")["partitions"][0]["layout"]
        places = {row["path"]: row for row in layout if row["what"] == "file"}
        for path, data in (("a.tflite", b"m" * 100), ("sub/c.tflite", b"n" * 33)):
            off = places[path]["offset"]
            assert off % n == 0, f"{path} at {off}, not a multiple of {n}"
            assert bytes_[off : off + len(data)] == data
        run("extract", "out.img", f"x{n}")
        assert read_tree(f"x{n}") == tree
    assert built(tree, "-a", "nothing=64") == rw.build(tree)


@test
def build_refuses_bad_alignments():
    write_tree("in", {b"a": b"1"})
    for bad in ("x", "x=", "x=3", "x=-8", "x=131072", "=8", "x=8q", "x=0"):
        err = run("build", "in", "--align", bad, code=2).stderr.decode()
        assert err.startswith("romount build: "), err


# --- extract ----------------------------------------------------------------------------


@test
def extract_gives_back_what_was_packed():
    rng = random.Random(SEED + 1)
    for i, tree in enumerate([{}, SAMPLE, random_tree(rng, 20, 4)]):
        write("a.img", rw.build(tree))
        run("extract", "a.img", f"out{i}")
        assert read_tree(f"out{i}") == tree


@test
def extract_keeps_modification_times():
    write_tree("in", SAMPLE)
    os.utime("in/main.py", ns=(0, 1234567890_123456789))
    os.utime("in/lib/util.py", ns=(0, -1))
    run("build", "in", "--mtime")
    run("extract", "in.romfs", "out")
    assert read_tree("out") == SAMPLE
    # The note may be coarser than the host's clock, by less than a second.
    for name, want in (("main.py", 1234567890), ("lib/util.py", -1)):
        got = os.stat(f"out/{name}").st_mtime_ns // 10**9
        assert got == want, f"{name}: {got}, not {want}"


@test
def extract_replaces_only_when_forced():
    write("a.img", rw.build(SAMPLE))
    write_tree("out", {b"main.py": b"mine", b"other": b"stays"})
    fails("extract", "a.img", "out", saying="out/main.py: it exists; -f replaces it")
    assert read("out/main.py") == b"mine"
    run("extract", "-f", "a.img", "out")
    assert read_tree("out") == {**SAMPLE, b"other": b"stays"}


@test
def extract_follows_no_link_in_the_directory():
    write("a.img", rw.build({b"dir": {b"f": b"evil"}, b"file": b"evil"}))
    write_tree("outside", {b"file": b"good"})
    write_tree("out", {})
    os.symlink("../outside", "out/dir")
    fails("extract", "-f", "a.img", "out", saying="out/dir: it exists and is no directory")
    os.unlink("out/dir")
    os.symlink("../outside/file", "out/file")
    run("extract", "-f", "a.img", "out")
    assert read_tree("outside") == {b"file": b"good"}
    assert read_tree("out") == {b"dir": {b"f": b"evil"}, b"file": b"evil"}


def extract_hostile(payload, name):
    """Fails, or is harmless; nothing appears outside of the directory."""
    os.makedirs("jail/a/b")
    write("jail/a/b/x.img", rw.image(payload))
    r = subprocess.run(
        [ROMOUNT, "extract", "-f", "x.img", "out"], cwd="jail/a/b", env=ENV,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )
    assert r.returncode in (0, 1), f"{name}: {r.returncode} {r.stderr!r}"
    assert b"\x1b" not in r.stdout + r.stderr, f"{name}: raw escape in {r.stderr!r}"
    assert os.listdir("jail") == ["a"] and os.listdir("jail/a") == ["b"], f"{name}: escaped"
    assert set(os.listdir("jail/a/b")) <= {"x.img", "out"}, f"{name}: escaped"
    shutil.rmtree("jail")
    return r


@test
def extract_survives_hostile_names():
    for bad in (b"", b".", b"..", b"../x", b"/etc/x", b"a/b", b"a\0b", b"n" * 256, b"/"):
        r = extract_hostile(rw.file_record(bad, b"evil"), bad)
        assert r.returncode == 1, f"a file named {bad!r} was extracted"
        r = extract_hostile(rw.directory_record(bad, rw.file_record(b"f", b"evil")), bad)
        assert r.returncode == 1, f"a folder named {bad!r} was extracted"
    extract_hostile(rw.file_record(b"\x1b[31mred", b""), "escape in a name")
    twice = rw.file_record(b"a", b"1") + rw.file_record(b"a", b"2")
    extract_hostile(twice, "a name twice")


@test
def extract_survives_hostile_structure():
    deep = b""
    for _ in range(200):
        deep = rw.directory_record(b"d", deep)
    cases = {
        "too deep": deep,
        "pointer outside": rw.pointer_record(b"p", 100, 1 << 20),
        "pointer overflows": rw.pointer_record(b"p", (1 << 63) - 1, (1 << 63) - 1),
        "pointer ends outside": rw.pointer_record(b"p", 1 << 20, 0),
        "record leaves parent": rw.varuint(rw.FILE) + rw.varuint(1000) + b"\x01a",
        "name leaves record": rw.record(rw.FILE, b"\x7fab"),
        "endless varuint": b"\xff" * 40,
    }
    for name, payload in cases.items():
        r = extract_hostile(payload, name)
        assert r.returncode == 1, f"{name} was accepted: {r.stdout!r}"
        assert r.stderr.startswith(b"romount extract: x.img: "), r.stderr


@test
def extract_survives_random_damage():
    rng = random.Random(SEED + 2)
    good = rw.tree_payload({**SAMPLE, b"data.bin": b"short"})
    for i in range(300):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            bad[rng.randrange(len(bad))] = rng.choice([0, 1, 3, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        extract_hostile(bytes(bad), f"damage {i}")


@test
def extract_cannot_fill_the_disk():
    payload = rw.record(rw.VERBATIM, bytes(100_000))
    files = b"".join(rw.pointer_record(b"%03d" % i, 90_000, 1000) for i in range(50))
    write("a.img", rw.image(payload + files))
    fails("extract", "a.img", "out", saying="its files share bytes and would fill 4.3 MiB")
    run("extract", "-f", "a.img", "out")
    assert len(os.listdir("out")) == 50


# --- ls and info ------------------------------------------------------------------------


@test
def ls_lists():
    write("a.img", rw.build(SAMPLE))
    out = run("ls", "a.img").stdout.decode()
    want = ["back\\\\slash", "data.bin", "empty", "größe.txt", "lib/", "main.py", "none/"]
    assert sorted(out.splitlines()) == sorted(want), out
    assert run("ls", "a.img", "lib").stdout == b"deep/\nutil.py\n"
    assert run("ls", "a.img", "/lib/deep/er/").stdout == b"f.txt\n"
    assert run("ls", "a.img", "none").stdout == b""
    assert run("ls", "a.img", "main.py").stdout == b"main.py\n"
    assert run("ls", "-R", "a.img", "lib").stdout == (
        b"lib/deep/\nlib/deep/er/\nlib/deep/er/f.txt\nlib/util.py\n"
    )
    long = run("ls", "-l", "a.img").stdout.decode().splitlines()
    assert "10240  -  data.bin" in [line.strip() for line in long], long
    fails("ls", "a.img", "nothing", saying="there is no nothing in a.img")
    fails("ls", "a.img", "-p1", saying="is an image file: it has no partition but 0")


@test
def ls_shows_modification_times():
    write_tree("in", {b"a.py": b"1"})
    os.utime("in/a.py", (0, 86400 * 365))
    run("build", "in", "--mtime")
    assert run("ls", "-l", "in.romfs").stdout == b"1  1971-01-01 00:00  a.py\n"


@test
def names_never_reach_the_terminal_raw():
    write("a.img", rw.build({b"\x1b]0;x\x07": b"", "\u202egpj".encode(): b"", b"\xff": b""}))
    for args in (["ls"], ["ls", "-l"], ["ls", "-R"], ["info"], ["info", "--json"]):
        r = run(*args, "a.img")
        text = r.stdout.decode()  # valid UTF-8
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), text
    assert "\\x1b]0;x\\x07" in run("ls", "a.img").stdout.decode()


@test
def info_accounts_for_every_byte():
    image = rw.build(SAMPLE)
    write("a.img", image + b"\xff" * (65536 - len(image)))
    doc = info_json("a.img")
    part = doc["partitions"][0]
    assert doc["path"] == "a.img" and len(doc["partitions"]) == 1
    assert (part["status"], part["size"]) == ("valid", 65536), part
    assert (part["files"], part["folders"]) == (7, 4), part
    assert part["image_size"] == len(image), part
    assert part["used"] + part["free"] == 65536
    # Packed back to back: all of it is used.
    assert len(image) - part["used"] <= 1, part
    for row in part["layout"]:
        if row["what"] == "file":
            data = SAMPLE
            for name in row["path"].replace("\\\\", "\\").split("/"):
                data = data[name.encode()]
            assert image[row["offset"] : row["offset"] + row["size"]] == data, row
    assert part["layout"][-1]["what"] == "free"
    assert part["layout"][-1]["size"] == 65536 - len(image)
    text = run("info", "a.img").stdout.decode()
    assert "valid, 7 files, 4 folders" in text and "lib/deep/er/f.txt" in text, text
    summary = run("info", "-s", "a.img").stdout.decode()
    assert "valid" in summary and "offset" not in summary, summary
    assert "layout" not in info_json("-s", "a.img")["partitions"][0]


@test
def info_tells_what_is_no_file_system():
    write("blank", b"\xff" * 8192)
    write("other", b"#!/bin/sh\n" * 1000)
    write("corrupt", rw.image(rw.varuint(rw.FILE) + rw.varuint(99) + bytes(8)) + bytes(8192))
    for name, status in (("blank", "blank"), ("other", "not romfs"), ("corrupt", "corrupt")):
        part = info_json(name)["partitions"][0]
        assert part["status"] == status, part
        assert status in run("info", name).stdout.decode()
        assert status == "blank" or part["reason"], part
    fails("ls", "blank", saying="blank is blank: it holds no file system")
    fails("ls", "other", saying="^romount ls: other: ")
    fails("extract", "corrupt", "out", saying="^romount extract: corrupt: ")
    assert not os.path.exists("out")


@test
def info_refuses_what_is_nothing_of_ours():
    os.mkdir("folder")
    os.mkfifo("pipe")
    fails("info", "folder", saying="folder is a folder, but none that romount shows")
    fails("info", "pipe", saying="pipe is neither a serial port nor an image file")
    fails("info", "./missing", saying="cannot open ./missing: No such file")
    fails("info", "/dev/ttyACM-none", saying="is the board plugged in")
    fails("info", "/dev/null", saying="/dev/null")
    fails("ls", "folder", saying="folder is a folder: name a serial port or an image file")


# --- format and compact: more of them in tests/mount/suite_rework ------------------------


@test
def format_asks_before_anything_goes():
    write_tree("tree", SAMPLE)
    run("build", "tree", "-o", "a.img")
    before = read("a.img")
    why = fails("format", "--state", "state", "a.img", saying="would be gone.*--yes")
    assert "7 files, 10.0 KiB" in why, why
    assert read("a.img") == before
    assert b"is empty: 64 KiB" in run(
        "format", "--state", "state", "--yes", "--size", "64k", "a.img").stdout
    assert run("ls", "a.img").stdout == b""
    assert run("extract", "a.img", "out") and read_tree("out") == {}
    part = info_json("a.img", "--state", "state")["partitions"][0]
    assert part["form"] == "append" and part["saves_left"] == part["saves"] > 100, part
    assert part["wear"]["blocks"] == [1] + [0] * 15, part


@test
def format_makes_a_new_image_of_a_size():
    run("format", "--state", "state", "--size", "1M", "new.img")
    assert os.path.getsize("new.img") == 1 << 20
    assert run("ls", "-R", "new.img").stdout == b""
    fails("format", "--state", "state", "none.img", saying="none.img: No such file")
    assert not os.path.exists("none.img")
    write("letter", b"dear reader, " * 1000)
    fails("format", "--state", "state", "--yes", "letter", saying="no ROMFS image")
    assert read("letter") == b"dear reader, " * 1000


@test
def compact_leaves_the_tree_and_blank_space():
    write_tree("tree", SAMPLE)
    run("build", "tree", "-o", "a.img")
    image = read("a.img")
    write("a.img", image + b"\x00" * (65536 - len(image)))
    for argument in ((), ("--packed",)):
        run("compact", "--state", "state", *argument, "a.img")
        assert read("a.img")[: len(image)] == image
        assert set(read("a.img")[len(image) + 4096 :]) == {0xFF}
    usage = info_json("a.img", "--state", "state")["partitions"][0]["usage"]
    assert usage["dead"] == 0 and sum(usage.values()) == 65536, usage
    write("blank", b"\xff" * 65536)
    fails("compact", "--state", "state", "blank", saying="nothing to make compact")


# --- how it speaks ----------------------------------------------------------------------


@test
def usage():
    assert run("--version").stdout.startswith(b"romount ")
    assert b"Boards:" in run("--help").stdout
    assert b"Boards:" in run(code=2).stderr
    fails("biuld", saying="there is no command 'biuld'; did you mean 'build'", code=2)
    fails("zzzzzzz", saying="there is no command 'zzzzzzz'\n", code=2)
    fails("-x", saying="must be a command", code=2)
    for command in ("build", "compact", "extract", "format", "info", "ls"):
        help_ = run(command, "--help").stdout
        assert help_.startswith(b"Usage: romount %s " % command.encode()), help_
        assert run("help", command).stdout == help_
        fails(command, saying=f"romount {command}: .*\nUsage: romount {command} ", code=2)
        fails(command, "a", "b", "c", "d", saying="Usage: ", code=2)
        fails(command, "-Q", "a", saying="there is no option -Q", code=2)
        fails(command, "--quux", "a", saying="--quux makes no sense here", code=2)
    fails("ls", "a", "-p", saying="-p wants a value", code=2)
    for bad in ("x", "-1", "1x", "", "99999999999999999999"):
        fails("ls", "a", "-p", bad, saying="wants the number of a partition", code=2)


@test
def a_full_disk_is_noticed():
    write("a.img", rw.build(SAMPLE))
    for args in (["ls", "a.img"], ["info", "a.img"], ["--help"]):
        with open("/dev/full", "wb") as full:
            r = subprocess.run([ROMOUNT, *args], stdout=full, stderr=subprocess.PIPE, env=ENV,
                               timeout=60, check=False)
        assert r.returncode == 1, f"{args}: {r.returncode}"


def on_terminal(args, env):
    """What a terminal gets."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(ROMOUNT, [ROMOUNT, *args], {**ENV, **env})
    out = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return out


@test
def colours_are_for_terminals():
    write("a.img", rw.build(SAMPLE))
    ENV.pop("NO_COLOR", None)
    for args in (["info", "a.img"], ["ls", "a.img"]):
        plain = run(*args).stdout
        coloured = on_terminal(args, {"TERM": "xterm"})
        assert b"\x1b" not in plain and b"\x1b[" in coloured
        assert re.sub(rb"\x1b\[[0-9;]*m|\r", b"", coloured) == plain
        for env in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
            assert on_terminal(args, env).replace(b"\r", b"") == plain, env


def main():
    print(f"SEED={SEED}", flush=True)
    failed = 0
    home = os.getcwd()
    for function in TESTS:
        name = function.__name__
        with tempfile.TemporaryDirectory(prefix="romount-cli-") as scratch:
            os.chdir(scratch)
            try:
                function()
                print(f"ok {name}", flush=True)
            except Exception:  # whatever it is, the next test runs
                traceback.print_exc(file=sys.stdout)
                print(f"not ok {name} - SEED={SEED}", flush=True)
                failed += 1
            finally:
                os.chdir(home)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
