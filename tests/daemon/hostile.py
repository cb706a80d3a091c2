# SPDX-License-Identifier: MIT
"""What an enemy brings along: ports with programs behind them that are no boards, images that
no sane writer writes, a client of the private socket that keeps to no rule."""

import contextlib
import os
import random
import select
import socket
import struct
import sys
import termios
import threading
import tty

from daemonrig import Port, rig

sys.path.insert(0, os.path.join(rig.SRCDIR, "tests/cli"))
import romfs_writer as romfs  # noqa: E402

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n<0>romountd: \u202efake"

# --- ports ----------------------------------------------------------------------------------

BANNER = b"raw REPL; CTRL-B to exit\r\n>"


def flood(port, got):
    port.endless = True
    return b""


def half_prompt(port, got):
    return BANNER[:15] if b"\x01" in got else b""


def forged(port, got):
    """The answers to everything, before anything was asked."""
    return BANNER + b"OK\x04\x04>" * 40 + b"R\x01\x80\x00\x01\x04"


def raw_repl(answer):
    """The prompt, and then this to whatever is run."""
    def reply(port, got):
        if b"\x01" in got:
            return b"\r\n" + BANNER
        if b"\x05A\x01" in got:
            return b"R\x00"
        return b"OK" + answer + b"\x04\x04>" if b"\x04" in got else b""

    return reply


def noise(port, got):
    return port.rng.randbytes(len(got) * 3)


def silent(port, got):
    return b""


REPLIES = {
    "flood": flood,
    "half a prompt": half_prompt,
    "forged OK and EOT": forged,
    "words for numbers": raw_repl(b"platform=rp2\r\nsegments=many\r\nheap=-1\r\nsum=0\r\n"),
    "no sum": raw_repl(b"segments=1\r\n" * 20000),
    "escapes": raw_repl(("machine=" + ESCAPES).encode() + b"\r\n"),
    "python": raw_repl(b"__import__('os').system('touch /tmp/owned')\r\n${IFS}`id`;$(id)%n%s\r\n"),
    "noise": noise,
    "silent": silent,
}


class FakePort:
    """A pty with somebody behind it who answers as `reply` says."""

    def __init__(self, case, alias, reply):
        self.alias, self.reply = alias, reply
        self.path = os.path.join(case.fresh("fake"), "tty")
        self.rng = random.Random(rig.SEED)
        self.endless = False
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave, termios.TCSANOW)
        os.set_blocking(self.master, False)
        os.symlink(os.ttyname(self.slave), self.path)
        os.chmod(os.ttyname(self.slave), 0o666)
        self.gone, self.wake = os.pipe()
        self.received = 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        case.rest.callback(self.unplug)

    def word(self):
        return "tty=%s,alias=%s" % (self.path, self.alias)

    def serve(self):
        out = b""
        while True:
            if self.endless and not out:
                out = b"OK\x04>raw REPL; CTRL-B to exit\r\n" * 100
            readable, _, _ = select.select(
                [self.master, self.gone], [self.master] if out else [], [])
            if self.gone in readable:
                return
            with contextlib.suppress(BlockingIOError):
                if self.master in readable:
                    got = os.read(self.master, 4096)
                    self.received += len(got)
                    out = (out + self.reply(self, got))[-65536:]
                out = out[os.write(self.master, out):] if out else out

    def unplug(self):
        if not self.thread:
            return
        os.write(self.wake, b"x")
        self.thread.join()
        self.thread = None
        os.unlink(self.path)
        for fd in (self.master, self.slave, self.gone, self.wake):
            os.close(fd)


def lying_port(case, alias, program, **options):
    """A board whose program has changed what its modules say."""
    directory = case.fresh("liar")
    main = os.path.join(directory, "main.py")
    rig.write(main, program.encode())
    return Port(case, alias, directory=directory, main=main, **options)


LIE = """
import sys, vfs, machine, os
class D:
    def __len__(self):
        return %(length)s
    def ioctl(self, op, arg):
        return {4: %(count)s, 5: %(block)s}.get(op, 0)
    def readblocks(self, n, buf, off=0):
        for i in range(len(buf)):
            buf[i] = 0xd2
    def writeblocks(self, n, buf, off=None):
        raise OSError(5)
real = vfs.rom_ioctl
vfs.rom_ioctl = lambda op, *a: %(segments)s if op == 1 else D() if op == 2 else real(op, *a)
"""
USUAL = {"length": "1<<18", "count": "64", "block": "4096", "segments": "1"}
LIES = {
    "a size of 2**62": {"count": "1<<40", "block": "1<<22", "length": "1<<62"},
    "a negative size": {"count": "-64", "length": "-1"},
    "no size": {"count": "0", "length": "0"},
    "an odd erase block": {"block": "4095"},
    "an erase block of 2**31": {"block": "1<<31"},
    "sizes that wrap around": {"count": "(1<<52)+1", "block": "4096"},
    "2**30 partitions": {"segments": "1<<30"},
    "-1 partitions": {"segments": "-1"},
    "a word for a size": {"count": "'many'", "block": "'0x10'"},
    "escapes for a size": {"count": "'\\x1b[2J\\n4'", "block": "'\\x1b]0;x\\x07'"},
}

# --- images ---------------------------------------------------------------------------------

MAX = b"\x81" + b"\xff" * 9 + b"\x7f"  # more than 64 bits


def chain(depth):
    payload = b""
    for i in range(depth):
        payload = romfs.directory_record(b"d", payload)
        if len(payload) > 200000:
            break
    return romfs.image(payload)


def overlapping():
    """Thousands of files that are all the same bytes: gigabytes, if one believed it."""
    data = romfs.file_record(b"data", bytes(100000))
    many = b"".join(romfs.pointer_record(b"f%04d" % i, 100000, 20) for i in range(5000))
    return romfs.image(data + many)


def outside(size, offset):
    pointer = romfs.pointer_record(b"secret", size, offset)
    return romfs.image(pointer + romfs.file_record(b"a", b"a"))


PARSER = {
    "a length of more than 64 bits": romfs.MAGIC + MAX + bytes(100),
    "a length without an end": romfs.MAGIC + b"\xff" * 4000,
    "an image longer than flash": romfs.MAGIC + romfs.varuint(1 << 40) + bytes(100),
    "a record longer than its parent":
        romfs.image(romfs.varuint(romfs.FILE) + romfs.varuint(1 << 30) + b"\x01a" + bytes(50)),
    "a record of more than 64 bits": romfs.image(romfs.varuint(romfs.FILE) + MAX + bytes(50)),
    "a name longer than its record":
        romfs.image(romfs.record(romfs.FILE, romfs.varuint(1 << 20) + b"name")),
    "a name of more than 64 bits": romfs.image(romfs.record(romfs.FILE, MAX + b"name")),
    "a kind of more than 64 bits": romfs.image(MAX + bytes(50)),
    "a pointer behind the end": outside(1000, 1 << 30),
    "a pointer that wraps around": outside(1000, (1 << 64) - 10),
    "a size that wraps around": outside((1 << 64) - 10, 100),
    "bytes that are none": romfs.MAGIC + random.Random(5).randbytes(60000),
}
CAPS = {
    "100000 folders in each other": chain(100000),
    "overlapping files": overlapping(),
    "21000 files": romfs.image(b"".join(
        romfs.file_record(b"%x" % i, b"")
        for i in range(21000))),
}
NAMES = [
    b"", b".", b"..", b"../../../evil", b"/etc/evil", b"a/b", b"nul\0x", b"n" * 256, b"l" * 255,
    b"\x1b[31mred\x07", b"line\nfeed", b"\xff\xfe", b"\xc2\x9b2J", b"twice", b"twice", b" ",
    b"-rf", b"%s%n%n", b"\xe2\x80\xae.txt", b"~", b"con", b".Trash-0", b"\x7f",
]


def names_image():
    records = b"".join(romfs.file_record(name, b"x%d" % i) for i, name in enumerate(NAMES))
    folders = b"".join(
        romfs.directory_record(name, romfs.file_record(b"in", b"y")) for name in NAMES)
    return romfs.image(romfs.file_record(b"plain", b"plain") + records + folders)


# --- a client -------------------------------------------------------------------------------


class Refused(Exception):
    pass


class RawClient:
    """Speaks D-Bus by hand, so that it can say what no library lets it say."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(rig.WAIT)
        self.socket.connect(path)
        self.serial, self.buffer = 0, b""

    def log_in(self):
        uid = str(os.geteuid()).encode().hex().encode()
        self.socket.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\n")
        line = self.read_line()
        if not line.startswith(b"OK"):
            raise Refused(line.decode(errors="replace"))
        self.socket.sendall(b"BEGIN\r\n")
        return self

    def read_line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise Refused("it hung up")
        self.buffer += got

    def take(self, n):
        while len(self.buffer) < n:
            self.more()
        out, self.buffer = self.buffer[:n], self.buffer[n:]
        return out

    @staticmethod
    def string(data):
        return struct.pack("<I", len(data)) + data + b"\0"

    @staticmethod
    def pad(data, to=8):
        return data + bytes(-len(data) % to)

    def call(self, path, interface, method, signature=b"", body=b""):
        """The name of the error, or None; `body` goes out as it is."""
        self.serial += 1
        fields = b""
        for code, kind, value in (
            (1, b"o", path), (2, b"s", interface), (3, b"s", method), (8, b"g", signature),
        ):
            if value:
                text = bytes([len(value)]) + value + b"\0" if kind == b"g" else self.string(value)
                fields = self.pad(fields) + bytes([code, 1]) + kind + b"\0" + text
        head = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), self.serial, len(fields))
        self.socket.sendall(self.pad(head + fields) + body)
        return self.answer()

    def answer(self):
        while True:
            kind, size, fields = self.message()
            serial = struct.unpack("<I", self.field(fields, 5)[:4])[0]
            if kind in (2, 3) and serial == self.serial:
                return None if kind == 2 else self.field(fields, 4)[4:].rstrip(b"\0").decode()

    def message(self):
        head = self.take(16)
        _, kind, _, _, size, _, length = struct.unpack("<cBBBIII", head)
        fields = self.take(length + -(16 + length) % 8)[:length]
        self.take(size)
        return kind, size, fields

    @staticmethod
    def field(fields, wanted):
        at = 0
        while at < len(fields):
            at += -at % 8
            code, kind = fields[at], fields[at + 2:at + 3]
            at += 4
            if kind == b"g":
                size = fields[at] + 2
            elif kind == b"u":
                size = 4
            else:
                size = struct.unpack_from("<I", fields, at)[0] + 5
            if code == wanted:
                return fields[at:at + size]
            at += size
        return bytes(8)

    def close(self):
        self.socket.close()
