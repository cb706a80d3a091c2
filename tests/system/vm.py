# SPDX-License-Identifier: MIT
"""A machine in QEMU: starts it, runs commands in it, connects boards to it, ends it.

The guest is Debian with its own kernel (see image). guest/ is put in it at each start. An
agent on a virtio port runs commands; bytes of a board go over a port of their own to a
gadget of dummy_hcd, which the guest sees as a USB device.
"""

import contextlib
import json
import os
import queue
import shlex
import shutil
import socket
import subprocess
import termios
import threading
import time
import tty

HERE = os.path.dirname(os.path.abspath(__file__))
SRCDIR = os.path.dirname(os.path.dirname(HERE))
AGENTS = 3
LANES = 8
FIRST_LANE = 10  # the number of its virtio port
SILENCE = 15  # seconds without a word on the console: this accelerator does not work
# Idle, it starts in 7 to 10 s; two cores may be shared with other tests.
BOOT = 240
COMMAND = 90
TIME_IS_UP = 300


class Failed(Exception):
    """A command ended otherwise than it should, or the machine did."""


class Result:
    def __init__(self, code, out, complaints):
        self.code = code
        self.bytes = out
        self.out = out.decode(errors="replace")
        self.complaints = complaints.decode(errors="replace")


def may_use_kvm():
    """An openable /dev/kvm proves nothing: guests of some hosts hang in their first steps."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) or os.path.exists("/sys/module/kvm_pvm"):
        return False
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return any(word in ("vmx", "svm") for word in f.read().split())


def connect(path, until):
    """QEMU makes its sockets one after another."""
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


class Agent:
    def __init__(self, path, until):
        self.socket = connect(path, until)
        self.answers = self.socket.makefile("rb")

    def run(self, command, data, wait):
        self.socket.settimeout(wait + 60)
        head = "%d %d %d\n" % (wait, len(command.encode()), len(data))
        self.socket.sendall(head.encode() + command.encode() + data)
        words = self.answers.readline().split()
        if len(words) != 3:
            raise Failed("the agent in the guest has ended")
        code, size, complaints = map(int, words)
        return Result(code, self.answers.read(size), self.answers.read(complaints))


class Monitor:
    """QMP."""

    def __init__(self, path, until):
        self.socket = connect(path, until)
        self.socket.settimeout(60)
        self.lines = self.socket.makefile("r")
        self.events = []  # names
        self.lines.readline()
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        text = json.dumps({"execute": command, "arguments": arguments})
        self.socket.sendall(text.encode() + b"\n")
        while True:
            answer = self._read()
            if "error" in answer:
                raise Failed("%s: %s" % (command, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]

    def _read(self):
        line = self.lines.readline()
        if not line:
            raise Failed("QEMU has ended")
        answer = json.loads(line)
        if "event" in answer:
            self.events.append(answer["event"])
        return answer

    def wait_for(self, event, wait):
        """One that came since the last time it was waited for."""
        self.socket.settimeout(wait)
        while event not in self.events:
            self._read()
        self.events.remove(event)


class Lane:
    """A virtio port or serial device of the machine, and the board that is behind it."""

    def __init__(self):
        self.socket = None
        self.board = None  # descriptor of its port

    def connect(self, path, until):
        """To the machine, each time it is started."""
        self.socket = connect(path, until)
        threading.Thread(target=self._to_board, args=(self.socket,), daemon=True).start()

    def _to_board(self, machine):
        with contextlib.suppress(OSError):
            while data := machine.recv(65536):
                with contextlib.suppress(OSError, TypeError):
                    while data:
                        data = data[os.write(self.board, data):]

    def _from_board(self, fd):
        with contextlib.suppress(OSError):
            while data := os.read(fd, 65536):
                with contextlib.suppress(OSError):
                    self.socket.sendall(data)
        if self.board == fd:
            self.board = None
        os.close(fd)

    def attach(self, fd):
        """Takes the descriptor of a port over; when the board goes, it is closed."""
        self.board = fd
        threading.Thread(target=self._from_board, args=(fd,), daemon=True).start()


class Machine:
    def __init__(self, image, builddir, directory):
        """`directory` is for what belongs to this run, and stays: its console is there."""
        self.image, self.builddir, self.directory = image, builddir, directory
        self.console = os.path.join(directory, "console")
        self.process = None
        self.lanes = [Lane() for n in range(LANES)]
        self.bridge = Lane()
        self._make_initrd()
        # Sparse, and of this run: it outlives a restart.
        subprocess.run(["cp", "--sparse=always", "--reflink=auto",
                        os.path.join(image, "root.img"), self.path("root.img")], check=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def _make_initrd(self):
        """The image's, and what may have changed since that was made."""
        top = self.path("initrd.d")
        shutil.copytree(os.path.join(self.image, "initrd.d"), top)
        for name in ("dev", "proc", "sys", "root", "guest"):
            os.mkdir(os.path.join(top, name))
        guest = os.path.join(HERE, "guest")
        shutil.copy(os.path.join(guest, "init"), os.path.join(top, "init"))
        for name in ("gadget", "gadgets.service", "agent@.service"):
            shutil.copy(os.path.join(guest, name), os.path.join(top, "guest", name))
        for name in ("agent", "relay"):
            program = os.path.join(self.builddir, "tests/system/guest", name)
            shutil.copy(program, os.path.join(top, "guest", name))
        with open(self.path("initrd"), "wb") as f:
            subprocess.run(
                "busybox find . | busybox cpio -o -H newc 2>/dev/null",
                shell=True, check=True, cwd=top, stdout=f,
            )
        shutil.rmtree(top)

    # --- starting and ending ---

    def _arguments(self, accelerator):
        argv = [
            "qemu-system-x86_64", "-M", "q35", "-m", "1024", "-smp", "2",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", os.path.join(self.image, "vmlinuz"), "-initrd", self.path("initrd"),
            # What is printed before there is a console for it tells that the guest lives. The
            # frequency of the time stamp counter is measured badly where others compute, too.
            "-append", "console=ttyS0 earlyprintk=ttyS0 rw panic=-1 mitigations=off notsc",
            "-chardev", "file,id=console,append=on,path=" + self.console,
            "-serial", "chardev:console",
            "-qmp", "unix:%s,server=on,wait=off" % self.path("qmp"),
            "-drive", "if=none,id=root,format=raw,cache=unsafe,file=" + self.path("root.img"),
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci",
            "-device", "virtio-serial-pci,max_ports=31", "-device", "qemu-xhci,id=xhci",
        ]
        argv += ["-accel", "kvm", "-cpu", "host"] if accelerator == "kvm" else [
            # Fewer features than "max": paging in four levels and no AVX are cheaper to emulate.
            "-accel", "tcg,thread=multi", "-cpu", "Nehalem"]
        ports = [("agent%d" % n, n) for n in range(1, AGENTS + 1)]
        ports += [("lane%d" % n, FIRST_LANE + n) for n in range(LANES)]
        for name, number in ports:
            argv += [
                "-chardev", "socket,id=%s,server=on,wait=off,path=%s" % (name, self.path(name)),
                "-device", "virtserialport,chardev=%s,nr=%d" % (name, number),
            ]
        argv += ["-chardev", "socket,id=bridge,server=on,wait=off,path=" + self.path("bridge")]
        return argv

    def start(self):
        for accelerator in ["kvm"] * may_use_kvm() + ["tcg"]:
            self._launch(accelerator)
            if self._speaks():
                break
            self.end()
        else:
            raise Failed("no accelerator of QEMU brings a machine to life; see " + self.console)
        self.accelerator = accelerator
        self.wait_until_up()

    def _launch(self, accelerator):
        for name in os.listdir(self.directory):
            if name not in ("initrd", "console", "root.img"):
                os.unlink(self.path(name))
        # What it said before a restart stays.
        open(self.console, "ab").close()
        self.silent_at = os.path.getsize(self.console)
        until = time.monotonic() + 30
        self.process = subprocess.Popen(
            self._arguments(accelerator), stdin=subprocess.DEVNULL)
        self.monitor = Monitor(self.path("qmp"), until)
        self.agents = queue.Queue()
        for n in range(1, AGENTS + 1):
            self.agents.put(Agent(self.path("agent%d" % n), until))
        for n, lane in enumerate(self.lanes):
            lane.connect(self.path("lane%d" % n), until)
        self.bridge.connect(self.path("bridge"), until)

    def _speaks(self):
        until = time.monotonic() + SILENCE
        while time.monotonic() < until:
            if os.path.getsize(self.console) > self.silent_at:
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return False

    def wait_until_up(self):
        """Failed units are for who starts it to judge."""
        self.run("systemctl is-system-running --wait", code=None, wait=BOOT)

    def reboot(self):
        """Orderly. QEMU ends, and a new one starts: it is quicker than a reset one."""
        with contextlib.suppress(Failed):  # what answers may be ended before it does
            self.run("systemctl reboot --no-block")
        self.process.wait(BOOT)
        self.start()

    def sleep_and_wake(self):
        """Suspended to memory, and woken when nothing runs any more."""
        self.run("systemctl suspend --no-block")
        self.monitor.wait_for("SUSPEND", COMMAND)
        self.monitor.do("system_wakeup")
        self.monitor.wait_for("WAKEUP", COMMAND)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    # --- commands ---

    def run(self, command, code=0, data=b"", wait=COMMAND):
        """Runs a shell's command as root. `code` None: any will do."""
        agent = self.agents.get()
        try:
            result = agent.run(command, data, wait)
        finally:
            self.agents.put(agent)
        if result.code == TIME_IS_UP:
            raise Failed("'%s' did not end in %d s:\n%s%s"
                         % (command, wait, result.out[-1500:], result.complaints[-1500:]))
        if code is not None and result.code != code:
            raise Failed("'%s' ended with %d:\n%s%s"
                         % (command, result.code, result.out[-1500:], result.complaints[-1500:]))
        return result

    def push(self, data, path, mode="644"):
        quoted = shlex.quote(path)
        self.run("cat >%s && chmod %s %s" % (quoted, mode, quoted), data=data)

    def pull(self, path):
        return self.run("cat " + shlex.quote(path)).bytes

    def until(self, command, what, wait=COMMAND):
        """Waits in the guest until a command succeeds."""
        loop = "until %s; do sleep 0.5; done" % command
        result = self.run(loop, code=None, wait=wait)
        if result.code != 0:
            raise Failed("%s: not within %d s (%s)" % (what, wait, command))


class Plug:
    """A USB port of the guest, the gadget in it, and an emulated board behind the gadget.

    An unplug takes the board's power away, as a real one does; its flash stays."""

    def __init__(self, machine, number, board, name="Board in FS mode", serial="",
                 vendor=0x2E8A, product=0x0005, interfaces=1, repl=0):
        self.machine, self.number, self.board = machine, number, board
        words = ["make", number, hex(vendor), hex(product), name, serial, interfaces, repl]
        self.words = [str(word) for word in words]
        self._gadget(*self.words)

    def _gadget(self, *words, **rest):
        command = shlex.join(["/opt/guest/gadget", *map(str, words)])
        return self.machine.run(command, **rest)

    def _attach(self):
        self.machine.lanes[self.number].attach(open_port(self.board.port))

    def plug(self):
        self._attach()
        self._gadget("plug", self.number)

    def unplug(self):
        self._gadget("unplug", self.number)
        self.board.unplug()

    def replug(self, *options):
        """Plugs the board in that was unplugged."""
        self.board.options = options or self.board.options
        self.board.start()
        self.plug()

    def drop(self):
        self._gadget("drop", self.number)


def open_port(path):
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd, termios.TCSANOW)
    return fd
