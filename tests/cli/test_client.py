#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The commands that ask romountd, against the daemon's own API with boards that are made up
(standin.c): what they show, what they ask for, how they end.

Given BUILDDIR. Prints a line for each test."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import romfs_writer as rw  # noqa: E402
import test_offline as offline  # noqa: E402
from test_offline import fails, read, run, write, write_tree  # noqa: E402

STANDIN = os.path.join(os.path.dirname(offline.ROMOUNT), "tests/cli/standin")
TESTS = offline.TESTS
TESTS.clear()
test = offline.test
SAMPLE = offline.SAMPLE
WAIT = 60


class Daemon:
    """A stand-in with these boards, below the current directory."""

    def __init__(self, *boards, step_ms=1, env=None):
        self.dir = os.path.abspath("daemon")
        os.mkdir(self.dir)
        self.process = subprocess.Popen(
            [STANDIN, self.dir, *boards],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**offline.ENV, "STANDIN_STEP_MS": str(step_ms), **(env or {})})
        assert self.process.stdout.readline() == "ready\n"
        offline.ENV["ROMOUNT_SOCKET"] = self.dir + "/socket"

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == line.split()[0] + "\n"

    def orders(self):
        """What boards were asked to do, layouts left out."""
        if not os.path.exists(self.dir + "/orders"):
            return []
        lines = read(self.dir + "/orders").decode().splitlines()
        return [line for line in lines if not line.startswith("layout ")]

    def flash(self, name, number=0):
        return read(f"{self.dir}/flash.{name}.{number}")

    def mount(self, name, number=0):
        return f"{self.dir}/mnt/{name}/rom{number}"

    def end(self):
        self.process.stdin.close()
        code = self.process.wait(WAIT)
        self.process.stdout.close()
        shutil.rmtree(self.dir)
        assert code == 0, f"the stand-in ended with {code}"


@contextlib.contextmanager
def daemon(*boards, **how):
    d = Daemon(*boards, **how)
    try:
        yield d
    finally:
        offline.ENV["ROMOUNT_SOCKET"] = "/nonexistent/socket"
        d.end()


def told(*args, **how):
    return json.loads(run(*args, "--json", **how).stdout)


# --- what is there ----------------------------------------------------------------------


@test
def list_tells_boards_partitions_and_what_waits():
    with daemon("pico,port=/dev/ttyX1,pending=12345,files=3", "esp,port=/dev/ttyX2,roms=2",
                "away,state=absent,pending=7,files=1", "odd,roms=0,state=none,error=no ROM") as d:
        boards = {b["name"]: b for b in told("list")["boards"]}
        assert sorted(boards) == ["away", "esp", "odd", "pico"], boards
        pico = boards["pico"]
        assert (pico["port"], pico["state"], pico["present"]) == ("/dev/ttyX1", "ready", True)
        (rom,) = pico["partitions"]
        assert (rom["name"], rom["mount"], rom["size"]) == ("rom0", d.mount("pico"), 1 << 20)
        assert (rom["pending"], rom["pending_files"], rom["used"]) == (12345, 3, 20480)
        assert [p["name"] for p in boards["esp"]["partitions"]] == ["rom0", "rom1"]
        assert boards["away"]["state"] == "absent" and not boards["away"]["present"]
        assert boards["away"]["partitions"][0]["mount"] == ""
        assert boards["odd"]["partitions"] == []
        lines = run("list").stdout.decode().splitlines()
        assert re.fullmatch(r"BOARD +PORT +STATE +SIZE +USED +WAITING +FOLDER", lines[0]), lines
        assert re.fullmatch(
            r"pico +/dev/ttyX1 +rom0 +staged +1 MiB +20 KiB +3 files, 12\.1 KiB +"
            + re.escape(d.mount("pico")), lines[5]), lines
        assert lines[-1] == "odd: no ROM", lines
        names = run("list", "--names").stdout.decode().split()
        assert names == ["away", "esp", "esp:0", "esp:1", "odd", "pico"], names
    with daemon():
        assert told("list") == {"boards": []}
        assert run("list", "--names").stdout == b""


@test
def no_daemon_is_an_exit_code_of_its_own():
    for command in (["list"], ["sync"], ["watch"], ["verify"], ["eject"], ["attach"],
                    ["release"], ["layout"], ["save", "x"]):
        err = run(*command, code=3).stderr.decode()
        assert "no romountd listens at /nonexistent/socket" in err, err
    env = {"ROMOUNT_SOCKET": "", "XDG_RUNTIME_DIR": os.getcwd(),
           "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent",
           "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    if not os.path.exists("/run/romount/private"):
        err = run("list", code=3, env=env).stderr.decode()
        assert "systemctl start romountd" in err and "romountd --user" in err, err
    assert run("list", "--names", code=3).stderr == b""
    # A word that is no file may be a board's name; a path is none, and a file is what it is.
    for command in (["info"], ["layout"], ["format"], ["compact"]):
        fails(*command, "pico", code=3,
              saying="cannot open pico: No such file.* if it is a board: no romountd listens")
        fails(*command, "./pico", saying="No such file")
        fails(*command, "some/pico", saying="No such file")
    fails("format", "--state", "state", "pico", saying="pico: No such file")
    write("pico", b"dear reader, " * 1000)
    fails("format", "--yes", "pico", saying="no ROMFS image")
    assert not os.path.exists("x")


@test
def names_paths_and_ports_find_their_board():
    with daemon("pico", "esp,roms=2", "pico-2,port=/dev/null") as d:
        os.symlink("/dev/null", "port")
        write(d.mount("esp", 1) + "/file", b"x")
        for word, want in (
            ("pico", "pico 0"), ("esp", "esp 0"), ("esp:1", "esp 1"), ("esp:rom1", "esp 1"),
            ("/dev/null", "pico-2 0"), ("port", "pico-2 0"), (d.mount("esp", 1), "esp 1"),
            (d.mount("esp", 1) + "/file", "esp 1"), (d.mount("pico") + "/../rom0", "pico 0"),
        ):
            run("verify", word)
            assert d.orders()[-1].startswith(f"verify {want} "), (word, d.orders()[-1])
        fails("verify", "pcio", saying="there is no board pcio; did you mean 'pico'", code=4)
        fails("verify", "zzz", saying="there is no board zzz, but esp, pico, pico-2", code=4)
        fails("verify", "esp:2", saying="esp has no partition 2, but 0, 1", code=4)
        fails("verify", "esp:x", saying="'x' is no number", code=4)
        fails("verify", saying="which board.*esp, pico, pico-2", code=4)
        fails("verify", "a\x1bb", saying=r"no board a\?b", code=4)
        fails("verify", "/", saying="there is no board", code=4)
    with daemon("only", "away,state=absent,pending=1") as d:
        run("verify")
        assert d.orders()[-1].startswith("verify only 0 ")
    with daemon("bare,roms=0,state=asking"):
        fails("verify", saying="bare shows no partition: asking", code=4)
    with daemon():
        fails("verify", saying="no board is there", code=4)
        fails("verify", "pico", saying="there is no board pico", code=4)


@test
def info_asks_the_daemon_about_its_boards_only():
    with daemon("pico,port=/dev/null", "esp,roms=2") as d:
        write("a.img", rw.build(SAMPLE))
        write("pico", rw.build(SAMPLE))  # a file of a board's name: ./pico is the file
        doc = told("info", "pico")
        assert doc["path"] == "pico" and doc["board"]["name"] == "pico", doc
        (rom,) = doc["partitions"]
        assert rom["size"] == 1 << 20 and rom["address"] == 0x10200000, rom
        assert rom["layout"][0] == {
            "what": "head", "offset": 0, "size": 64, "address": 0x10200000}, rom["layout"]
        assert {"what": "file", "offset": 8192, "size": 1 << 18, "address": 0x10202000,
                "path": "lib/<a>&.py"} in rom["layout"], rom["layout"]
        assert told("info", "/dev/null")["board"]["name"] == "pico"
        assert [p["number"] for p in told("info", "esp")["partitions"]] == [0, 1]
        assert [p["number"] for p in told("info", "esp:1")["partitions"]] == [1]
        assert [p["number"] for p in told("info", "esp", "-p", "1")["partitions"]] == [1]
        assert "layout" not in told("info", "-s", "esp")["partitions"][0]
        assert told("info", "./pico")["partitions"][0]["kind"] == "image file"
        assert told("info", "a.img")["partitions"][0]["kind"] == "image file"
        text = run("info", "pico").stdout.decode()
        assert "Stand-in board" in text and d.mount("pico") in text, text
        assert re.search(r"0x002000  0x10202000  262144  lib/<a>&\.py\n", text), text
        assert "\x1b" not in text
        fails("info", "picu", saying="did you mean 'pico'", code=4)
        fails("info", "none.img", saying="there is no board none.img", code=4)
        fails("info", "./none.img", saying="No such file")
        d.tell("change pico,fail=busy")
        assert "picocom (pid 4711)" in run("info", "pico").stdout.decode()


# --- orders -----------------------------------------------------------------------------


@test
def sync_waits_for_boards_and_partitions():
    with daemon("pico,pending=5,files=1", "esp,roms=2,pending=9,files=2",
                "away,state=absent,pending=3") as d:
        out = run("sync", "esp:1").stdout.decode()
        assert out == "esp:1: on flash, verified\n", out
        rom0, rom1 = told("list")["boards"][1]["partitions"]
        assert (rom0["pending"], rom1["pending"]) == (9, 0)
        doc = told("sync")
        assert doc == {"sync": [{"board": "esp", "done": True}, {"board": "pico", "done": True}]}
        left = {b["name"]: [p["pending"] for p in b["partitions"]] for b in told("list")["boards"]}
        assert left == {"away": [3], "esp": [0, 0], "pico": [0]}, left
        d.tell("change pico,fail=failed")
        err = fails("sync", "pico", saying="pico: flash could not be written at 0x1000")
        assert err.startswith("romount sync: "), err
        doc = json.loads(run("sync", "--json", code=1).stdout)
        assert doc["sync"][0] == {"board": "esp", "done": True}, doc
        assert doc["sync"][1]["done"] is False and "0x1000" in doc["sync"][1]["error"], doc


@test
def errors_have_their_exit_codes():
    with daemon("pico") as d:
        for how, code, saying in (("busy", 5, "picocom"), ("timeout", 5, "does not answer"),
                                  ("gone", 4, "unplugged"), ("failed", 1, "0x1000")):
            d.tell("change pico,fail=" + how)
            for command in (["sync"], ["verify"], ["eject"], ["release"], ["layout"],
                            ["save", "x"]):
                fails(*command, saying=saying, code=code)
        assert not os.path.exists("x")


@test
def many_boards_are_served_at_once():
    with daemon(*(f"b{i},pending=1" for i in range(64))) as d:
        doc = told("sync")
        assert len(doc["sync"]) == 64 and all(o["done"] for o in doc["sync"]), doc
        assert len(d.orders()) == 64
        assert all(b["partitions"][0]["pending"] == 0 for b in told("list")["boards"])


@test
def eject_attach_release():
    with daemon("pico,pending=4,files=1", "esp") as d:
        assert b"it may be unplugged" in run("eject", "pico").stdout
        pico = told("list")["boards"][1]
        assert (pico["state"], pico["partitions"][0]["pending"]) == ("ejected", 0), pico
        assert re.search(rb"\npico +\S+ +rom0 +ejected ", run("list").stdout), run("list").stdout
        assert b"esp: on flash" in run("sync").stdout, "only the other is waited for"
        assert b"pico: its port is free\n" == run("release", "pico").stdout
        assert b"for 30 s" in run("release", "--for=30", "pico").stdout
        assert told("attach", "pico") == {"attach": [{"board": "pico", "done": True}]}
        assert d.orders() == [
            "eject pico -1 flag=0 seconds=0 bytes=0", "sync esp -1 flag=0 seconds=0 bytes=0",
            "release pico -1 flag=0 seconds=0 bytes=0",
            "release pico -1 flag=0 seconds=30 bytes=0",
            "attach pico -1 flag=0 seconds=0 bytes=0"], d.orders()
        run("attach", "/dev/null", "--alias", "new")
        doc = told("attach", "localhost:4000")
        assert doc == {"attach": [{"port": "localhost:4000", "done": True}]}, doc
        boards = {b["name"]: b["port"] for b in told("list")["boards"]}
        assert boards["new"] == "/dev/null" and boards["added"] == "localhost:4000", boards
        fails("attach", "/dev/zero", "--alias", "refused", saying="this one is refused")
        fails("attach", "/dev/none", saying="there is no port /dev/none", code=4)
        fails("release", "--for=x", "pico", saying="makes no sense", code=2)


@test
def save_and_restore_are_byte_for_byte():
    with daemon("pico", "esp,roms=2") as d:
        image = rw.build(SAMPLE)
        whole = image + b"\xff" * ((1 << 20) - len(image))
        write("a.img", image)
        fails("restore", "a.img", "pico", saying=r"pico:0: 2 files, .* would be gone.*--yes")
        assert d.orders() == []
        out = run("restore", "--yes", "a.img", "pico").stdout.decode()
        assert out == "pico:0: a.img, on flash, verified\n", out
        assert d.flash("pico") == whole
        assert d.orders()[0] == f"restore pico 0 flag=1 seconds=0 bytes={len(image)}", d.orders()
        assert d.orders()[1].startswith("sync pico 0 ")
        run("save", "pico", "b.img")
        assert read("b.img") == whole and sorted(os.listdir(".")) == ["a.img", "b.img", "daemon"]
        assert run("save", "pico", "-").stdout == whole
        assert told("save", "pico", "b.img") == {
            "file": "b.img", "size": 1 << 20, "from": "pico:0"}
        with open("a.img", "rb") as f:
            subprocess.run([offline.ROMOUNT, "restore", "-y", "-", "esp:1"], stdin=f, check=True,
                           env=offline.ENV, timeout=WAIT, stdout=subprocess.DEVNULL)
        assert d.flash("esp", 1) == whole
        d.tell("change pico,fail=busy")
        fails("save", "pico", "b.img", saying="picocom", code=5)
        assert read("b.img") == whole and sorted(os.listdir(".")) == ["a.img", "b.img", "daemon"]
        fails("save", "pico", "/dev/null", saying="not a regular file")
        write("big.img", b"\xff" * ((1 << 20) + 1))
        fails("restore", "-y", "big.img", "esp", saying="esp:0 has 1 MiB, and the image 1.0 MiB")
        write("empty", b"")
        fails("restore", "-y", "empty", "esp", saying="empty is empty")


@test
def deploy_sends_the_directory_as_an_image():
    with daemon("pico") as d:
        write_tree("tree", SAMPLE)
        out = run("deploy", "tree", "pico").stdout.decode()
        assert re.fullmatch(r"pico:0: 7 files, .*, on flash, verified\n", out), out
        assert d.orders()[0].startswith("restore pico 0 flag=0 "), d.orders()
        write("seen.img", d.flash("pico"))
        run("extract", "seen.img", "seen")
        subprocess.run(["diff", "-r", "tree", "seen"], check=True)
        run("build", "tree", "-o", "exact.img")
        doc = told("deploy", "--exact", "tree", "pico")
        (one,) = doc["deploy"]
        assert one["files"] == 7 and one["verified"] and one["done"], doc
        image = read("exact.img")
        assert one["image"] == len(image) and d.flash("pico")[: len(image)] == image
        assert d.orders()[-2].startswith("restore pico 0 flag=1 "), d.orders()
        run("deploy", "--exact", "--align", "data.bin=512", "tree", "pico")
        run("build", "tree", "-o", "exact.img", "--align", "data.bin=512")
        assert d.flash("pico")[: len(read("exact.img"))] == read("exact.img")
        run("deploy", "seen.img", "pico")
        assert d.orders()[-2].startswith("restore pico 0 flag=0 ")
        fails("deploy", "none", "pico", saying="none: No such file")
        fails("deploy", "/dev/null", "pico", saying="neither an image file nor a directory")
        fails("deploy", saying="what to put there", code=2)
        fails("deploy", "--align", "*=8", "tree", saying="goes with --exact", code=2)


@test
def format_and_compact_go_through_the_daemon():
    with daemon("pico,port=/dev/null", "esp,roms=2,pending=9,files=2") as d:
        fails("format", "esp:1", saying="esp:1: 2 files, 256.1 KiB, and 2 files that wait to be")
        assert d.orders() == []
        assert run("format", "-y", "esp", "-p", "1").stdout == b"esp:1: empty\n"
        assert run("format", "--yes", "/dev/null").stdout == b"pico:0: empty\n"
        assert told("compact", "/dev/null")["compact"][0]["board"] == "pico"
        run("compact", "--packed", "esp")
        assert [o.split(" seconds")[0] for o in d.orders()] == [
            "format esp 1 flag=0", "format pico 0 flag=0", "compact pico 0 flag=0",
            "compact esp 0 flag=1"], d.orders()
        fails("compact", "pico", "--align", "*=8", saying="--align means nothing to it")
        run("format", "--state", "state", "--size", "64k", "pico")
        assert os.path.getsize("pico") == 65536  # --size makes a file, whatever its name
        doc = told("compact", "--state", "state", "./pico")
        assert sum(doc["after"].values()) == 65536 and doc["name"].endswith("/pico"), doc


# --- how it looks -----------------------------------------------------------------------


@test
def layout_is_drawn():
    with daemon("pico"):
        text = run("layout", "pico", env={"COLUMNS": "80"}).stdout.decode()
        rows = re.findall(r"^  [0-9a-f]{8}  (\S+)$", text, re.M)
        assert "".join(rows) == "H=" + "a" * 64 + ":" * 62 + "." * 128, text
        assert {len(row) for row in rows} == {64}
        assert re.search(r"^  a +256 KiB  lib/<a>&\.py$", text, re.M), text
        assert re.search(r"^  \.  blank +512 KiB +50\.0 %$", text, re.M), text
        narrow = run("layout", "pico", env={"COLUMNS": "40"}).stdout.decode()
        assert max(len(row) for row in re.findall(r"^  [0-9a-f]{8}  (\S+)$", narrow, re.M)) == 16
        doc = told("layout", "pico")
        assert sum(doc["sums"].values()) == doc["size"] == 1 << 20, doc["sums"]
        assert doc["sums"]["dead"] == 253852 and doc["files"] == 2
        run("layout", "pico", "--svg", "map.svg")
        root = ET.parse("map.svg").getroot()
        texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "lib/<a>&.py" in texts, texts
        assert run("layout", "pico", "--svg", "-").stdout == read("map.svg")
        coloured = offline.on_terminal(["layout", "pico"], {"TERM": "xterm"})
        assert b"\x1b[48;5;" in coloured
        plain = offline.on_terminal(["layout", "pico"], {"TERM": "xterm", "NO_COLOR": "1"})
        assert re.sub(rb"\x1b\[[0-9;]*m", b"", coloured) == plain and b"\x1b" not in plain


@test
def layout_of_an_image_needs_no_daemon():
    image = rw.build(SAMPLE)
    size = 65536
    blank = (len(image) + 4095) // 4096 * 4096
    dead = bytearray(b"\xff" * (size - len(image)))
    dead[blank + 8192 - len(image)] = 0
    write("a.img", image + bytes(dead))
    doc = told("layout", "a.img")
    assert sum(doc["sums"].values()) == doc["size"] == size, doc
    assert doc["sums"]["dead"] == 4096, doc["sums"]
    paths = {e["path"]: e["size"] for e in doc["layout"] if e["what"] == "file"}
    assert paths["data.bin"] == 10240 and paths["lib/util.py"] == 6, paths
    at = 0
    for e in doc["layout"]:
        assert e["offset"] == at or e["size"] == 0, e
        at = max(at, e["offset"] + e["size"])
    assert at == size
    write("blank", b"\xff" * size)
    assert told("layout", "blank")["sums"]["blank"] == size
    fails("layout", "./none.img", saying="No such file")


@test
def progress_is_a_bar_on_a_terminal_and_lines_elsewhere():
    with daemon("pico,pending=5", step_ms=20):
        err = run("sync", "pico").stderr.decode()
        lines = err.splitlines()
        assert lines and all(re.match(r"pico: writing +\d+ %  .* of 1 MiB", x) for x in lines), err
        assert "\x1b" not in err and "\r" not in err
        out = offline.on_terminal(["sync", "pico"], {"TERM": "xterm", "COLUMNS": "100"}).decode()
        assert re.search(r"\rpico: writing \[.*#+.*-+.*\] +\d+ %", out), out
        assert out.replace("\r", "").endswith("\x1b[Kpico: on flash, verified\n"), out
        assert run("list", "--json").stderr == b""


class Follow:
    """A command that goes on, and the lines that it tells."""

    def __init__(self, *args):
        self.process = subprocess.Popen([offline.ROMOUNT, *args], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=offline.ENV)
        self.rest = b""

    def line_with(self, what):
        """The next line that has it."""
        end = time.monotonic() + WAIT
        while True:
            line, newline, rest = self.rest.partition(b"\n")
            if newline:
                self.rest = rest
                if what in line.decode():
                    return line.decode()
                continue
            ready = select.select([self.process.stdout], [], [], end - time.monotonic())[0]
            assert ready, f"it never told {what}"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"it ended before it told {what}"
            self.rest += piece

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def ends(self, code):
        """With this exit code; what it has to say about that."""
        err = self.process.communicate(timeout=WAIT)[1].decode()
        assert self.process.returncode == code, (self.process.returncode, err)
        return err


@test
def watch_tells_changes_as_they_come():
    with daemon("pico,pending=5,files=1") as d:
        for args in (["watch"], ["watch", "--json"]):
            p = Follow(*args)
            p.line_with("pico")
            d.tell("add new,port=/dev/x")
            p.line_with("new")
            d.tell("change pico,state=released")
            p.line_with("released")
            d.tell("change pico,state=ready")
            p.line_with("pico")
            d.tell("remove new")
            gone = p.line_with("gone")
            if "--json" in args:
                assert json.loads(gone) == {"gone": "new"}, gone
            p.interrupt()
            assert p.ends(0) == ""


@test
def the_end_of_the_daemon_and_of_patience():
    with daemon("pico,fail=hang", "esp") as d:
        p = Follow("sync", "pico")
        time.sleep(0.2)
        p.interrupt()
        assert "romountd goes on with what it has begun" in p.ends(1)
        waiting, watching = Follow("sync", "pico"), Follow("watch")
        watching.line_with("pico")
        time.sleep(0.2)
        d.process.kill()
        assert "romountd has ended" in waiting.ends(3)
        assert "romountd has ended" in watching.ends(3)
        d.process.wait(WAIT)
        d.process.returncode = 0  # it was meant


@test
def a_board_that_goes_while_it_is_waited_for():
    with daemon("pico", step_ms=50) as d:
        for args in (["verify", "pico"], ["info", "pico"]):
            p = Follow(*args)
            time.sleep(0.1)
            d.tell("remove pico")
            p.ends(4)
            d.tell("add pico")


# --- far away ---------------------------------------------------------------------------


@contextlib.contextmanager
def far_away():
    """An ssh that goes nowhere, and a system bus of our own."""
    os.mkdir("bin")
    write("bin/ssh", b"#!/bin/sh\n"
          b"while [ \"$1\" != -- ]; do shift; done\nshift\n"
          b"echo \"$1\" >>hosts\nshift\n"
          b"[ \"$1\" != systemd-stdio-bridge ] || set -- \"$1\" -p \"$DBUS_SYSTEM_BUS_ADDRESS\"\n"
          b"exec sh -c \"$*\"\n")
    os.chmod("bin/ssh", 0o755)
    os.symlink(offline.ROMOUNT, "bin/romount")
    write("bus.conf", b"<busconfig><type>session</type><listen>unix:path="
          + os.fsencode(os.getcwd()) + b"/bus</listen><auth>EXTERNAL</auth>"
          b"<policy context='default'><allow send_destination='*' eavesdrop='true'/>"
          b"<allow eavesdrop='true'/><allow own='*'/><allow user='*'/></policy></busconfig>")
    bus = subprocess.Popen(["dbus-daemon", "--nofork", "--print-address", "--config-file=bus.conf"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = bus.stdout.readline().strip()
    env = {"DBUS_SYSTEM_BUS_ADDRESS": address, "STANDIN_BUS": "1",
           "PATH": os.getcwd() + "/bin:" + offline.ENV["PATH"]}
    old = dict(offline.ENV)
    offline.ENV.update(env)
    try:
        yield
    finally:
        offline.ENV.clear()
        offline.ENV.update(old)
        bus.kill()
        bus.wait()
        bus.stdout.close()


@test
def another_computer_is_reached_by_ssh():
    if not shutil.which("dbus-daemon") or not shutil.which("systemd-stdio-bridge"):
        return
    with far_away(), daemon("pico,pending=3,files=1") as d:
        far = ("-H", "me@far")
        end = time.monotonic() + WAIT
        while subprocess.run([offline.ROMOUNT, "list", *far], env=offline.ENV, check=False,
                             capture_output=True, timeout=WAIT).returncode == 3:
            assert time.monotonic() < end, "the stand-in never got its name"
        assert set(read("hosts").split()) == {b"me@far"}
        (board,) = told("list", *far)["boards"]
        assert board["name"] == "pico" and board["daemon"] == "system", board
        run("sync", *far, "pico")
        assert told("list", *far)["boards"][0]["partitions"][0]["pending"] == 0
        write_tree("tree", SAMPLE)
        run("build", "tree", "-o", "exact.img")
        run("deploy", *far, "--exact", "tree", "pico")
        image = read("exact.img")
        assert d.flash("pico")[: len(image)] == image
        run("save", *far, "pico", "back.img")
        assert read("back.img") == d.flash("pico")
        run("restore", *far, "-y", "back.img", "pico:0")
        fails("restore", *far, "-y", "exact.img", "pico:3", code=4, saying="no partition 3")
        fails("list", *far, "--user", saying="leave --user out")


if __name__ == "__main__":
    sys.exit(offline.main())
