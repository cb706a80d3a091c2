# SPDX-License-Identifier: MIT
"""What romount's commands promise of the boards that romountd has: the cases of suite_client.
What they ask for and how they end with errors is tests/cli/test_client.py's; here it arrives
on flash."""

import errno
import json
import os
import shutil
import signal
import threading

from daemonrig import SLOW, Daemon, Port, finish, rig, wait_for


class Client:
    """`romount`, for the daemon of this case."""

    def __init__(self, daemon):
        self.env = dict(daemon.env)

    def run(self, *words, code=0, **rest):
        return rig.run(rig.ROMOUNT, *words, code=code, env=self.env, **rest)

    def json(self, *words, code=0):
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def fails(self, *words, code, saying):
        err = self.run(*words, code=code).stderr
        if saying not in err:
            raise AssertionError("%s does not say %r: %s" % (rig.show(words), saying, err))

    def board(self, name):
        found = [b for b in self.json("list")["boards"] if b["name"] == name]
        return found[0] if found else None


def put(folder, name, seed, size=3000):
    data = rig.noise(seed, size)
    rig.write(os.path.join(folder, name), data)
    return rig.sha(data)


def start(case, *partitions, config=""):
    port = Port(case, "pico", *partitions)
    daemon = Daemon(case, port, config=config)
    daemon.wait_shown("pico")
    return port, daemon, Client(daemon)


# --- cases ----------------------------------------------------------------------------------


def everyday(case):
    """list, info and layout tell what is there; sync waits until it is on flash."""
    port, daemon, romount = start(case, "block:256K", "partial:128K", config=SLOW)
    daemon.wait_shown("pico", 1)
    folder = daemon.folder("pico")
    want = {"lib": "dir", "lib/a.bin": put(folder, "lib/a.bin", "a", 20000)}
    board = romount.board("pico")
    rig.equal(board["port"], port.path, "port")
    rig.equal([p["mount"] for p in board["partitions"]],
              [folder, daemon.folder("pico", 1)], "mounts")
    rig.equal([p["size"] for p in board["partitions"]], [256 << 10, 128 << 10], "sizes")
    wait_for(lambda: romount.board("pico")["partitions"][0]["pending"] >= 20000, "pending bytes")
    rig.equal(set(port.partition().bytes()), {0xFF}, "flash before the sync")
    rig.equal(romount.run("sync", "pico").stdout, "pico: on flash, verified\n", "sync says")
    port.partition().must_show(want)
    rig.equal(romount.board("pico")["partitions"][0]["pending"], 0, "pending")
    other = {"b.bin": put(daemon.folder("pico", 1), "b.bin", "b")}
    romount.run("sync", os.path.join(daemon.folder("pico", 1), "b.bin"))
    port.partition(1).must_show(other)
    doc = romount.json("layout", "pico:0")
    rig.equal(sum(doc["sums"].values()), 256 << 10, "bytes of the map")
    files = {e["path"]: e["size"] for e in doc["layout"] if e["what"] == "file"}
    rig.equal(files, {"lib/a.bin": 20000}, "files of the map")
    at = [e for e in doc["layout"] if e["what"] == "file"][0]["offset"]
    rig.equal(rig.sha(port.partition().bytes()[at:at + 20000]), want["lib/a.bin"], "bytes there")
    rig.equal(romount.json("info", port.path)["board"]["name"], "pico", "the port's board")
    if romount.json("verify", "pico:0")["verify"][0]["bytes"] < 20000:
        raise AssertionError("verify looks at less than is there")
    romount.fails("verify", "pico:2", code=4, saying="pico has no partition 2")
    finish(daemon)


def save_restore(case):
    """save gives what flash holds; restore brings it back, byte for byte, whatever came between."""
    port, daemon, romount = start(case)
    folder = daemon.folder("pico")
    want = {"a.bin": put(folder, "a.bin", "a", 30000)}
    romount.run("sync")
    image = os.path.join(case.directory, "pico.img")
    romount.run("save", "pico", image)
    kept = port.partition().bytes()
    if rig.read(image) != kept:
        raise AssertionError("the image is not what flash holds")
    os.unlink(os.path.join(folder, "a.bin"))
    put(folder, "b.bin", "b")
    romount.run("sync")
    romount.fails("restore", image, code=1, saying="--yes")
    romount.run("restore", "--yes", image)
    if port.partition().bytes() != kept:
        raise AssertionError("flash is not what the image holds")
    port.partition().must_show(want)
    rig.equal_trees(rig.tree(folder), want, "in the folder")
    put(folder, "c.bin", "c")
    romount.run("sync")
    rig.equal(sorted(port.partition().shown()), ["a.bin", "c.bin"], "saved after it")
    finish(daemon)


def deploy(case):
    """The folder equals the directory, on flash, also where files are gone; --exact gives the
    bytes that build makes."""
    port, daemon, romount = start(case)
    folder = daemon.folder("pico")
    put(folder, "old.bin", "old")
    project = rig.make_tree(case.fresh("project"), "deploy", files=12)
    romount.run("deploy", project, "pico")
    port.partition().must_show(rig.tree(project))
    rig.equal_trees(rig.tree(folder), rig.tree(project), "in the folder")
    shutil.rmtree(os.path.join(project, "pkg"))
    rig.write(os.path.join(project, "main_part.py"), b"answer = 43\n")
    out = romount.json("deploy", project)["deploy"][0]
    rig.equal((out["done"], out["verified"]), (True, True), "deploy says")
    port.partition().must_show(rig.tree(project))
    rig.equal_trees(rig.tree(folder), rig.tree(project), "in the folder")
    romount.run("deploy", "--exact", project, "pico")
    image = os.path.join(case.directory, "exact.img")
    rig.run(rig.ROMOUNT, "build", project, "-o", image)
    want = rig.read(image)
    if port.partition().bytes()[:len(want)] != want:
        raise AssertionError("flash does not begin with the image")
    rig.equal_trees(rig.tree(folder), rig.tree(project), "in the folder")
    rig.write(os.path.join(case.directory, "big"), bytes(300 << 10))
    romount.fails("deploy", os.path.join(case.directory, "big"), code=1, saying="256 KiB")
    port.partition().must_show(rig.tree(project))
    finish(daemon)


def format_compact(case):
    """Both go through the daemon, by the port's name as well; the folder stays."""
    port, daemon, romount = start(case)
    folder = daemon.folder("pico")
    for i in range(4):
        want = {"a.bin": put(folder, "a.bin", "a%d" % i, 20000)}
        romount.run("sync")
    before = romount.json("layout", "pico")["sums"]["dead"]
    romount.run("compact", port.path)
    after = romount.json("layout", "pico")
    # What is dead beside something live stays.
    if not after["sums"]["dead"] < min(before, after["erase_block"]):
        raise AssertionError("dead: %d before, %d after" % (before, after["sums"]["dead"]))
    port.partition().must_show(want)
    romount.fails("format", "pico", code=1, saying="1 file")
    port.partition().must_show(want)
    romount.run("format", "--yes", port.path)
    rig.equal(os.listdir(folder), [], "the folder")
    port.partition().must_show({})
    want = {"b.bin": put(folder, "b.bin", "b")}
    romount.run("sync")
    port.partition().must_show(want)
    finish(daemon)


def release_attach(case):
    """A released port is left alone until it is attached; what is saved meanwhile waits."""
    port, daemon, romount = start(case)
    folder = daemon.folder("pico")
    romount.run("release", "pico")
    rig.equal(romount.board("pico")["state"], "released", "state")
    want = {"a.bin": put(folder, "a.bin", "a")}
    rig.equal(port.partition().shown() if set(port.partition().bytes()) != {0xFF} else {}, {},
              "flash while released")
    romount.run("attach", "pico")
    romount.run("sync", "pico")
    port.partition().must_show(want)
    romount.run("eject", "pico")
    wait_for(lambda: not daemon.is_shown("pico"), "the folder to go")
    romount.run("attach", "pico")
    rig.equal_trees(rig.tree(daemon.wait_shown("pico")), want, "in the folder that is back")
    finish(daemon)


def eject(case):
    """Who is told that a board may be unplugged is told so when all of it is on flash, also
    where two ask for it; then nothing waits for it, and `sync` of all boards has no complaint."""
    port, daemon, romount = start(case, "block:1M", config=SLOW)
    want = {"a.bin": put(daemon.folder("pico"), "a.bin", "a", 500000)}
    seen = []

    def ask():
        romount.run("eject", "pico")
        seen.append(romount.board("pico"))

    romount.run("info", os.path.dirname(daemon.folder("pico")))
    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    port.partition().must_show(want)
    for board in seen:
        part = board["partitions"][0]
        rig.equal([board["state"], board["directory"], part["pending_files"], part["pending"],
                   part["mount"], part["error"]], ["ejected", "", 0, 0, "", ""], "after eject")
    rig.equal(len(seen), 2, "answers")
    rig.equal(romount.run("sync").stdout, "no board is there\n", "sync says")
    finish(daemon)


def away(case):
    """A board that was unplugged is listed while something waits for it."""
    port, daemon, romount = start(case, config=SLOW)
    want = {"a.bin": put(daemon.folder("pico"), "a.bin", "a")}
    port.unplug()
    daemon.wait_gone("pico")
    board = wait_for(lambda: (lambda b: b if b and not b["present"] else None)(
        romount.board("pico")), "a board that is away")
    rig.equal(board["state"], "absent", "state")
    rig.equal(board["partitions"][0]["pending_files"], 1, "files that wait")
    romount.fails("verify", "pico", code=4, saying="pico")
    port.plug()
    daemon.wait_shown("pico")
    romount.run("sync", "pico")
    port.partition().must_show(want)
    finish(daemon)


def coming_back(case):
    """What waits for a board is listed all the time while it is looked at, which takes long
    where its line is slow; also after a restart of romountd and of the board's process."""
    port, daemon, romount = start(case, "block:256K", "block:128K", config=SLOW)
    want = {"a.bin": put(daemon.folder("pico"), "a.bin", "a")}
    port.unplug()
    daemon.wait_gone("pico")
    port.board.options += ("--latency-ms", "60")

    def watch():
        """Until it is ready."""
        states = []

        def look():
            board = romount.board("pico")
            states.append(board["state"])
            rom = [p for p in board["partitions"] if p["number"] == 0]
            rig.equal([(p["pending_files"], p["pending"]) for p in rom], [(1, 3000)],
                      "what waits, in state %s" % board["state"])
            return board["state"] == "ready"

        wait_for(look, "the board to be ready")
        if not set(states) & {"starting", "asking"}:
            raise AssertionError("it was ready at once: %r" % states)

    with case.part("plugged in again"):
        port.plug()
        watch()
    with case.part("romountd was started anew"):
        port.unplug()
        daemon.wait_gone("pico")
        daemon.end()
        daemon.start()
        wait_for(lambda: romount.run("list", code=None).returncode == 0, "romountd")
        rig.equal(romount.board("pico")["state"], "absent", "state")
        port.plug()
        watch()
    with case.part("its process was started anew"):
        pid = daemon.wait_pid()
        os.kill(pid, signal.SIGKILL)
        daemon.wait_pid(other_than=(pid,))
        watch()
    romount.run("sync", "pico")
    port.partition().must_show(want)
    rig.equal(romount.board("pico")["partitions"][0]["pending_files"], 0, "files, after sync")
    finish(daemon)


# Another program's way to the flash: one byte of a block is changed.
REWRITE = """
import vfs
d = vfs.rom_ioctl(2, 0)
b = bytearray(4096)
d.readblocks(%d, b)
b[%d] ^= 0x55
d.writeblocks(%d, b)
"""


def rewrite(board, off):
    """Changes the byte at `off` behind romountd's back, and gives the board back."""
    board.raw_repl()
    rig.equal(board.exec(REWRITE % (off // 4096, off % 4096, off // 4096)), ("", ""), "rewriting")
    board.write(b"\x02\x04")
    board.read_until(b"soft reboot")
    board.close()


def stale(case):
    """Where another program has rewritten a partition behind romountd's back, `sync` never says
    that all is on flash once that is known, by whatever means, but what to do."""
    port, daemon, romount = start(case, config=SLOW)
    folder = daemon.folder("pico")
    put(folder, "big.bin", "big", 50000)
    romount.run("sync")
    (off,) = [e["offset"] for e in romount.json("layout", "pico")["layout"]
              if e.get("path") == "big.bin"]
    words = (["sync"], ["sync", "pico"], ["sync", "pico:0"], ["sync", folder])

    def refused(left):
        for word in words:
            romount.fails(*word, code=1, saying="another program has changed rom0; what you "
                          "staged is kept: to see what is there now, unmount and mount again, or "
                          "'romount eject' and 'romount attach'")
            doc = romount.json(*word, code=1)["sync"]
            rig.equal([o["done"] for o in doc], [False], "done, in JSON")
        part = romount.board("pico")["partitions"][0]
        rig.equal((part["state"], part["pending_files"]), ("failed", left), "what list tells")
        rig.equal(port.partition().bytes(), before, "flash, as the other program left it")

    rewrite(port.board, off + 5000)
    before = port.partition().bytes()
    with case.part("found by verify, with nothing staged"):
        romount.fails("verify", "pico", code=1, saying="another program has changed them")
        refused(0)
    with case.part("and again as it was"):
        rewrite(port.board, off + 5000)
        romount.run("verify", "pico")
        romount.run("sync")
        rewrite(port.board, off + 5000)
    with case.part("found by save"):
        path = os.path.join(case.directory, "saved")
        romount.fails("save", "pico", path, code=1, saying="another program has changed rom0")
        refused(0)
    def take_again():
        """To see what is there now."""
        romount.run("eject", "pico")
        romount.run("attach", "pico")
        daemon.wait_shown("pico")
        romount.run("sync")

    with case.part("found by a read, in a folder from memory"):
        take_again()
        take_again()  # it was asked, and is remembered
        rewrite(port.board, off + 5000)
        before = port.partition().bytes()
        with rig.refused(errno.EIO):
            rig.read(os.path.join(folder, "big.bin"))
        refused(0)
    with case.part("found when something is written"):
        take_again()
        rewrite(port.board, off + 5000)
        before = port.partition().bytes()
        digest = put(folder, "a.bin", "a")
        refused(1)
        rig.equal(rig.sha(rig.read(os.path.join(folder, "a.bin"))), digest, "what is staged")
    with case.part("what it says to do helps"):
        romount.run("eject", "pico", code=1)
        romount.run("attach", "pico")
        daemon.wait_shown("pico")
        rig.equal(os.listdir(folder), ["big.bin"], "what flash holds")
        romount.run("sync")
        held = [name for _, _, names in os.walk(daemon.state) for name in names
                if name == "a.bin"]
        rig.equal(held, ["a.bin"], "what was staged, kept beside")
    finish(daemon)


def added(case):
    """A port that nobody has told romountd of becomes a board by attach."""
    port = Port(case, "unused")
    daemon = Daemon(case)
    romount = Client(daemon)
    wait_for(lambda: romount.run("list", code=None).returncode == 0, "romountd")
    rig.equal(romount.json("list"), {"boards": []}, "boards")
    romount.run("attach", port.path, "--alias", "late")
    folder = daemon.wait_shown("late")
    want = {"a.bin": put(folder, "a.bin", "a")}
    romount.run("sync", "late")
    port.partition().must_show(want)
    finish(daemon)


CASES = [everyday, save_restore, deploy, format_compact, release_attach, eject, away,
         coming_back, stale, added]
