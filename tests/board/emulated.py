# SPDX-License-Identifier: MIT
"""Starts emulated boards and talks to them, for tests written in Python."""

import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import termios
import tty

HERE = os.path.dirname(os.path.abspath(__file__))
WAIT = 60  # seconds that are never reached unless something hangs


class Board:
    """One board in a directory of its own; `options` are those of the command."""

    def __init__(self, *options, directory=None, program=None):
        self.directory = directory or tempfile.mkdtemp(prefix="board-")
        self.program = program or os.environ.get("BOARD", "tests/board/board")
        self.options = options
        self.port = os.path.join(self.directory, "tty")
        self.socket = self.fd = None
        self.start()

    def start(self):
        names = [
            "--link", self.port,
            "--control", os.path.join(self.directory, "control"),
            "--flash", os.path.join(self.directory, "flash"),
            "--log", os.path.join(self.directory, "log"),
        ]
        self.process = subprocess.Popen(
            [self.program, *names, *self.options], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the board did not start: exit code %d" % self.process.wait())
        self.ready = json.loads(line)

    def replug(self, *options):
        self.unplug()
        self.options = options
        self.start()

    def unplug(self):
        self.close()
        self.process.kill()
        self.process.wait(WAIT)
        self.process.stdout.close()

    def stop(self):
        self.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT)
        self.process.stdout.close()
        return code

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
        if self.socket is not None:
            self.socket.close()
        self.fd = self.socket = None

    # --- the control socket ---

    def control(self, command):
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(WAIT)
            self.socket.connect(os.path.join(self.directory, "control"))
            self.answers = self.socket.makefile("r")
        self.socket.sendall(command.encode() + b"\n")
        return json.loads(self.answers.readline())

    def flash(self, number=0):
        with open(os.path.join(self.directory, "flash.%d" % number), "rb") as f:
            return f.read()

    def log(self):
        with open(os.path.join(self.directory, "log")) as f:
            return [json.loads(line) for line in f]

    # --- the port ---

    def open(self):
        if self.fd is None:
            self.fd = os.open(self.port, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self.fd, termios.TCSANOW)  # keeps what has come already
            self.received = b""
        return self.fd

    def write(self, data):
        fd = self.open()
        while data:
            data = data[os.write(fd, data) :]

    def more(self, wait):
        """Waits for anything; False when nothing comes for `wait` seconds."""
        if not select.select([self.open()], [], [], wait)[0]:
            return False
        self.received += os.read(self.fd, 65536)
        return True

    def take(self, n):
        out, self.received = self.received[:n], self.received[n:]
        return out

    def read(self, n, wait=WAIT):
        """Exactly n bytes; fewer only when nothing has come for `wait` seconds."""
        self.open()
        while len(self.received) < n and self.more(wait):
            pass
        return self.take(n)

    def read_until(self, end, wait=WAIT):
        self.open()
        while end not in self.received:
            if not self.more(wait):
                raise TimeoutError("waited for %r after %r" % (end, self.received[-2000:]))
        return self.take(self.received.index(end) + len(end))

    def raw_repl(self):
        self.write(b"\r\x03\x03\x01")
        self.read_until(b"raw REPL; CTRL-B to exit\r\n>")

    def exec(self, code):
        """Runs code in the raw REPL: its output and its error."""
        self.write(code.encode() + b"\x04")
        assert self.read(2) == b"OK"
        return self.result()

    def result(self):
        out = self.read_until(b"\x04")[:-1].decode()
        error = self.read_until(b"\x04")[:-1].decode()
        assert self.read(1) == b">"
        return out, error

    def eval(self, expression):
        out, error = self.exec("print(repr(%s))" % expression)
        assert not error, error
        return eval(out)
