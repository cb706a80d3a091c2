# SPDX-License-Identifier: MIT
"""Boards that udev tells of: ttys of emulated ones in a sysfs of umockdev's."""

import contextlib
import os
import subprocess
import termios
import tty

from daemonrig import rig

PROGRAM = os.path.join(rig.BUILDDIR, "tests/daemon/udevbed")
ROMOUNTD = os.path.join(rig.BUILDDIR, "tests/daemon/mocked/romountd")
BUS = "/devices/pci0000:00/0000:00:14.0/usb1"


# A sanitizer that is to open a log does so before what umockdev preloads has begun.
SANITIZERS = {key: os.environ[key] for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS")
              if key in os.environ}


class Bed:
    """Boards at one USB bus. For Daemon, it is where its program and its udev come from."""

    def __init__(self, case):
        if not os.path.exists(PROGRAM):
            raise rig.Skip("built without umockdev")
        self.case = case
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE,
                                        env={**case.env, **SANITIZERS})
        case.rest.callback(self.close)
        self.root = self.process.stdout.readline().strip()
        self.program, self.env = ROMOUNTD, {"UMOCKDEV_DIR": self.root, **SANITIZERS}
        self.plugs = 0
        os.makedirs(os.path.join(self.root, "dev"), exist_ok=True)
        self.tell("P: " + BUS, "E: SUBSYSTEM=usb", "E: DEVTYPE=usb_device")

    def tell(self, *lines):
        self.process.stdin.write("\n".join(lines) + "\n\n")
        self.process.stdin.flush()
        rig.equal(self.process.stdout.readline(), "ok\n", "udevbed's answer")

    def close(self):
        self.process.stdin.close()
        self.process.wait(rig.WAIT)
        self.process.stdout.close()

    def device(self, serial):
        """A board that shows none of its ttys yet."""
        self.tell("P: %s/1-1" % BUS, "E: SUBSYSTEM=usb", "E: DEVTYPE=usb_device",
                  r"A: idVendor=2e8a\n", r"A: idProduct=0005\n",
                  r"A: product=Board in FS mode\n", r"A: serial=%s\n" % serial)

    def tty(self, number, path):
        """The tty of its interface `number` is `path`."""
        node, interface = "ttyACM%d" % number, "%s/1-1/1-1:1.%d" % (BUS, number)
        st = os.stat(path)
        os.symlink(path, os.path.join(self.root, "dev", node))
        self.tell("P: " + interface, "E: SUBSYSTEM=usb", "E: DEVTYPE=usb_interface",
                  r"A: bInterfaceNumber=%02x\n" % number)
        self.plugs += 1
        self.tell("P: %s/tty/%s" % (interface, node), "E: SUBSYSTEM=tty",
                  "E: DEVNAME=/dev/" + node, "E: ROMOUNT_BOARD=1",
                  "E: ID_PATH=pci-0000:00:14.0-usb-0:1:1.%d" % number,
                  "E: ID_USB_INTERFACE_NUM=%02x" % number,
                  "E: USEC_INITIALIZED=%d" % self.plugs,
                  r"A: dev=%d:%d\n" % (os.major(st.st_rdev), os.minor(st.st_rdev)))

    def pull(self, number):
        """The tty, while nobody looks: it is there until all have been told that it is not."""
        interface = "/sys%s/1-1/1-1:1.%d" % (BUS, number)
        self.tell("- %s/tty/ttyACM%d" % (interface, number))
        self.tell("- " + interface)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.root, "dev/ttyACM%d" % number))


class Mute:
    """A tty behind which nobody is."""

    def __init__(self, case):
        self.master, slave = os.openpty()
        tty.setraw(slave, termios.TCSANOW)
        self.path = os.ttyname(slave)
        case.rest.callback(os.close, self.master)
        case.rest.callback(os.close, slave)
