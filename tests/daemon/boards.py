# SPDX-License-Identifier: MIT
"""What romountd promises of boards that come and go: the cases of suite_boards (an ordinary
user) and suite_boards_root (the whole computer's)."""

import os
import signal
import stat

from client import Client
from daemonrig import SLOW, Daemon, Port, finish, mounts_below, rig, wait_for


def put(folder, name, seed, size=3000):
    data = rig.noise(seed, size)
    rig.write(os.path.join(folder, name), data)
    return rig.sha(data)


def must_be_blank(port):
    rig.equal(set(port.partition().bytes()), {0xFF}, "bytes on flash")


def plug(case):
    """A folder appears, what is saved there goes to flash, notes tell; the end leaves nothing."""
    port = Port(case, "pico", "block:256K", "partial:128K")
    daemon = Daemon(case, port)
    folder = daemon.wait_shown("pico")
    second = daemon.wait_shown("pico", 1)
    want = {"lib": "dir", "lib/a.bin": put(folder, "lib/a.bin", "a")}
    rig.run("sync", folder)
    port.partition(0).must_show(want)
    other = {"b.bin": put(second, "b.bin", "b")}
    rig.run("sync", second)
    port.partition(1).must_show(other)
    rig.equal(stat.S_IMODE(os.stat(os.path.dirname(folder)).st_mode), 0o755, "mode")
    daemon.wait_note("pico", "rom0: on flash")
    daemon.wait_note("pico", "256 KiB", "BOARD.txt")
    for word in (port.path, "Firmware:", "rom1"):
        if word not in daemon.note("pico", "BOARD.txt"):
            raise AssertionError("no %r in BOARD.txt:\n%s" % (word, daemon.note("pico", "BOARD.txt")))
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        line = [line for line in f if folder in line][0]
    for option in ("nosuid", "nodev", "noexec", "default_permissions", "fuse.romount"):
        if option not in line:
            raise AssertionError("no %s: %s" % (option, line))
    if "allow_other" in line:
        raise AssertionError("others may look: " + line)
    finish(daemon)


def end_finishes(case):
    """What is staged when romountd is ended goes to flash before it ends."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    folder = daemon.wait_shown("pico")
    want = {"a.bin": put(folder, "a.bin", "a")}
    must_be_blank(port)
    finish(daemon)
    port.partition().must_show(want)


def unplug_keeps(case):
    """Unplugged with something staged: the folder goes, and what was saved goes to flash when
    the board is back."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    folder = daemon.wait_shown("pico")
    want = {"a.bin": put(folder, "a.bin", "a")}
    port.unplug()
    daemon.wait_gone("pico")
    port.plug()
    folder = daemon.wait_shown("pico")
    rig.equal_trees(rig.tree(folder), want, "in the folder that is back")
    rig.run("sync", folder)
    port.partition().must_show(want)
    finish(daemon)


def unplug_over_a_restart(case):
    """The same where romountd is ended and started while the board is away."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    want = {"a.bin": put(daemon.wait_shown("pico"), "a.bin", "a")}
    port.unplug()
    daemon.wait_gone("pico")
    daemon.end()
    daemon.start()
    port.plug()
    folder = daemon.wait_shown("pico")
    rig.equal_trees(rig.tree(folder), want, "in the folder that is back")
    rig.run("sync", folder)
    port.partition().must_show(want)
    finish(daemon)


def two_boards(case):
    """Each has its own folder and its own flash."""
    ports = [Port(case, "one"), Port(case, "two", "mram:128K")]
    daemon = Daemon(case, *ports)
    for port in ports:
        folder = daemon.wait_shown(port.alias)
        want = {"x.bin": put(folder, "x.bin", port.alias)}
        rig.run("sync", folder)
        port.partition().must_show(want)
    ports[0].unplug()
    daemon.wait_gone("one")
    rig.equal(os.listdir(daemon.folder("two")), ["x.bin"], "the other's folder")
    finish(daemon)


def twins(case):
    """Two that say the same about themselves: neither gets what was saved for the other."""
    ports = [Port(case, "twin"), Port(case, "twin")]
    daemon = Daemon(case, *ports, config=SLOW)
    first, second = daemon.wait_shown("twin"), daemon.wait_shown("twin-2")
    want = {"a.bin": put(first, "a.bin", "a")}
    rig.equal(os.listdir(second), [], "the other's folder")
    owner = [p for p in ports if p.path in daemon.note("twin", "BOARD.txt")][0]
    other = [p for p in ports if p is not owner][0]
    for port in ports:
        port.unplug()
    daemon.wait_gone("twin")
    daemon.wait_gone("twin-2")
    other.plug()
    second = daemon.wait_shown("twin-2")
    rig.equal(os.listdir(second), [], "the other's folder, alone")
    owner.plug()
    first = daemon.wait_shown("twin")
    rig.equal_trees(rig.tree(first), want, "the owner's folder")
    rig.run("sync", first)
    owner.partition().must_show(want)
    must_be_blank(other)
    finish(daemon)


def process_killed(case):
    """The board's process dies: it comes back with all that was saved."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    folder = daemon.wait_shown("pico")
    want = {"a.bin": put(folder, "a.bin", "a")}
    for _ in range(3):
        pid = daemon.wait_pid()
        os.kill(pid, signal.SIGKILL)
        daemon.wait_pid(other_than=(pid,))
        folder = daemon.wait_shown("pico")
        rig.equal_trees(rig.tree(folder), want, "after the process died")
    rig.run("sync", folder)
    port.partition().must_show(want)
    finish(daemon)


def daemon_killed(case):
    """romountd dies: its next start cleans up, and goes on."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    want = {"a.bin": put(daemon.wait_shown("pico"), "a.bin", "a")}
    for number in range(3):
        daemon.kill()
        daemon.start()
        folder = daemon.wait_shown("pico")
        rig.equal(mounts_below(daemon.root), [folder], "mounts")
        rig.equal_trees(rig.tree(folder), want, "after romountd died")
        name = "b%d.bin" % number
        want[name] = put(folder, name, name)
    rig.run("sync", folder)
    port.partition().must_show(want)
    finish(daemon)


def daemon_killed_board_away(case):
    """romountd dies, and the board is gone when it starts again: nothing is left of the folder."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    daemon.wait_shown("pico")
    daemon.kill()
    port.unplug()
    daemon.start()
    daemon.wait_gone("pico")
    finish(daemon)


def hung(case):
    """A process that does not answer is killed and started anew; the other board's folder
    works meanwhile."""
    ports = [Port(case, "stuck"), Port(case, "fine")]
    ports[1].unplug()
    daemon = Daemon(case, *ports, config=SLOW)
    want = {"a.bin": put(daemon.wait_shown("stuck"), "a.bin", "a")}
    pid = daemon.wait_pid()
    ports[1].plug()
    fine = daemon.wait_shown("fine")
    os.kill(pid, signal.SIGSTOP)
    for number in range(5):
        name = "%d.bin" % number
        digest = put(fine, name, name)
        rig.equal(rig.sha(rig.read(os.path.join(fine, name))), digest, name)
    wait_for(lambda: pid not in daemon.board_pids(), "the end of the one that hangs")
    rig.equal_trees(rig.tree(daemon.wait_shown("stuck")), want, "in the one that hung")
    rig.equal(len(rig.tree(fine)), 5, "files in the other")
    finish(daemon)


def occupied(case):
    """What is in the way at the place of the folder is left alone, and another name taken."""
    outside = case.fresh("outside")
    makers = {
        "folder with a file": lambda path: rig.write(os.path.join(path, "mine"), b"mine"),
        "file": lambda path: rig.write(path, b"mine"),
        "link": lambda path: os.symlink(outside, path),
    }
    for what, make in makers.items():
        with case.part(what):
            port = Port(case, "pico")
            daemon = Daemon(case, port, started=False)
            make(os.path.join(daemon.root, "pico"))
            before = rig.tree(daemon.root)
            daemon.start()
            folder = daemon.wait_shown("pico-2")
            put(folder, "a.bin", "a")
            rig.run("sync", folder)
            daemon.process.send_signal(signal.SIGTERM)
            rig.equal(daemon.process.wait(rig.WAIT), 0, "exit code")
            daemon.process = None
            rig.equal_trees(rig.tree(daemon.root), before, "what was there before")
            rig.equal(os.listdir(outside), [], "behind the link")


def stop(daemon):
    """The end of romountd where a user's things are in the mount root."""
    daemon.process.send_signal(signal.SIGTERM)
    rig.equal(daemon.process.wait(rig.WAIT), 0, "exit code of romountd")
    daemon.process = None


def empty_folder(case):
    """An empty folder of ours is no hindrance, and stays as it was; also where romountd or the
    power goes while the board is shown in it."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, started=False)
    os.mkdir(os.path.join(daemon.root, "pico"))
    daemon.start()
    daemon.wait_shown("pico")
    stop(daemon)
    rig.equal(rig.tree(daemon.root), {"pico": "dir"}, "after its end")
    daemon.start()
    daemon.wait_shown("pico")
    daemon.kill()
    port.unplug()
    daemon.start()
    wait_for(lambda: rig.tree(daemon.root) == {"pico": "dir"}, "nothing else to be there")
    stop(daemon)


def power_cut(case):
    """What a power cut leaves of a board's folder is removed by the next start, and the board
    has its name again; what a user has put beside it stays."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, config=SLOW)
    folder = daemon.wait_shown("pico")
    want = {"a.bin": put(folder, "a.bin", "a")}
    mine = {"empty": "dir", "notes": "dir", "notes/BOARD.txt": put(daemon.root, "notes/BOARD.txt", "")}
    os.mkdir(os.path.join(daemon.root, "empty"))
    for size, away in ((0, True), (7, True), (0, False), (None, False)):
        with case.part("%s bytes of BOARD.txt, board %s" % (size, "away" if away else "there")):
            daemon.wait_note("pico", "Name:", "BOARD.txt")
            daemon.kill()
            for path in mounts_below(daemon.root):
                daemon.unmount(path, lazily=True)
            note = os.path.join(daemon.root, "pico", "BOARD.txt")
            if size is None:
                os.unlink(note)
            else:
                os.truncate(note, size)
            if away:
                port.unplug()
            daemon.start()
            if away:
                daemon.wait_gone("pico")
                rig.equal_trees(rig.tree(daemon.root), mine, "what is left")
                port.plug()
            rig.equal_trees(rig.tree(daemon.wait_shown("pico")), want, "in its folder")
    rig.run("sync", daemon.folder("pico"))
    port.partition().must_show(want)
    stop(daemon)
    rig.equal_trees(rig.tree(daemon.root), mine, "what is left")


def quicker(case):
    """Somebody has put a file where the folder is about to be mounted: it is not hidden."""
    if os.geteuid() == 0:
        raise rig.Skip("only root can write there")
    port = Port(case, "pico")
    daemon = Daemon(case, port, started=False)
    programs = case.fresh("bin")
    wrapper = os.path.join(programs, "fusermount3")
    rig.write(
        wrapper,
        b'#!/bin/bash\n[ "$1" = -u ] || echo mine >"${@: -1}/mine"\n'
        b'PATH=/usr/bin:/bin exec fusermount3 "$@"\n',
    )
    os.chmod(wrapper, 0o755)
    daemon.env["PATH"] = programs + ":" + daemon.env["PATH"]
    daemon.start()
    daemon.wait_note("pico", "there are files in")
    wait_for(lambda: not mounts_below(daemon.root), "the mount to go")
    rig.equal(rig.read(os.path.join(daemon.folder("pico"), "mine")), b"mine\n", "the file")
    daemon.process.send_signal(signal.SIGTERM)
    rig.equal(daemon.process.wait(rig.WAIT), 0, "exit code")
    daemon.process = None
    os.chmod(daemon.folder("pico"), 0o700)
    rig.equal(rig.read(os.path.join(daemon.folder("pico"), "mine")), b"mine\n", "the file, after")


def unsafe_root(case):
    """A mount root that others can change is refused, with the reason."""
    daemon = Daemon(case, started=False)
    os.chmod(daemon.root, 0o777)
    daemon.start()
    rig.equal(daemon.process.wait(rig.WAIT), 1, "exit code")
    daemon.process = None
    if "others may write" not in daemon.said():
        raise AssertionError(daemon.said())


def one_at_a_time(case):
    """A second romountd for the same folders says so, and the first goes on."""
    port = Port(case, "pico")
    daemon = Daemon(case, port)
    daemon.wait_shown("pico")
    other = Daemon(case, started=False)
    other.root, other.state = daemon.root, daemon.state
    other.start()
    rig.equal(other.process.wait(rig.WAIT), 1, "exit code")
    other.process = None
    if "another romountd" not in daemon.said():
        raise AssertionError(daemon.said())
    put(daemon.wait_shown("pico"), "a.bin", "a")
    finish(daemon)


def hostile(case):
    """Whatever a board's process does, romountd goes on, and what it tells is harmless."""
    for how in ("quitter", "dead", "types", "flood", "deaf", "endless", "liar", "nonsense"):
        with case.part(how):
            port = Port(case, "evil")
            daemon = Daemon(case, port, hostile=how)
            if how == "liar":
                daemon.wait_note("evil", "xxxx", "BOARD.txt")
            else:
                daemon.wait_note("evil", "its process")
            # A deaf one floods as well; either may be noticed first.
            why = {"deaf": "started again", "endless": "more than a message"}.get(how)
            if why:
                daemon.wait_note("evil", why)
                # What finds bad accesses keeps what was freed.
                if "ASAN_OPTIONS" not in os.environ and daemon.most_memory() > 64 << 20:
                    raise AssertionError("romountd took %d bytes" % daemon.most_memory())
            if daemon.process.poll() is not None:
                raise AssertionError("romountd ended:\n" + daemon.said()[-2000:])
            for name in ("STATUS.txt", "BOARD.txt"):
                text = daemon.note("evil", name)
                bad = [c for c in text if not (c.isprintable() or c == "\n")]
                rig.equal(bad, [], name)
            rig.equal(sorted(os.listdir(daemon.root)), ["evil"], "folders")
            port.unplug()
            daemon.wait_gone("evil")
            finish(daemon)


def unmounted_by_hand(case):
    """romountd hears of it, and 'romount attach' shows the folder again."""
    port = Port(case, "pico")
    daemon = Daemon(case, port)
    folder = daemon.wait_shown("pico")
    romount = Client(daemon)
    want = {"a.bin": put(folder, "a.bin", "a")}
    for _ in range(2):
        daemon.unmount(folder)
        wait_for(lambda: romount.board("pico")["partitions"][0]["mount"] == "", "no folder")
        romount.run("attach", "pico")
        rig.equal_trees(rig.tree(daemon.wait_shown("pico")), want, "in the folder")
    finish(daemon)


def not_ours(case):
    """What somebody has mounted by hand in the same place stays."""
    port = Port(case, "pico")
    daemon = Daemon(case, port, started=False)
    mine, image = os.path.join(daemon.root, "mine"), os.path.join(case.directory, "image")
    os.mkdir(mine)
    rig.write(image, b"\xff" * 65536)
    rig.run(rig.ROMOUNT, "mount", image, mine, env=case.env)
    try:
        daemon.start()
        daemon.wait_shown("pico")
        if mine not in mounts_below(daemon.root):
            raise AssertionError("taken away: " + daemon.said())
    finally:
        daemon.unmount(mine, code=None)
    os.rmdir(mine)
    finish(daemon)


def reload_config(case):
    """SIGHUP takes up the configuration anew: a mistake is told with its line, the rest works."""
    port = Port(case, "pico")
    daemon = Daemon(case, port)
    daemon.wait_shown("pico")
    rig.write(daemon.config, b"[board pico]\nquiet=many\nmatch=alias:pico\nignore=yes\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_gone("pico")
    if "romount.conf:2" not in daemon.said():
        raise AssertionError("no line in:\n" + daemon.said())
    rig.write(daemon.config, b"")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_shown("pico")
    finish(daemon)


CASES = [
    plug, end_finishes, unplug_keeps, unplug_over_a_restart, two_boards, twins, process_killed,
    daemon_killed, daemon_killed_board_away, occupied, empty_folder,
    power_cut, quicker, unsafe_root, one_at_a_time,
    hostile, unmounted_by_hand, not_ours, reload_config, hung,
]
