# SPDX-License-Identifier: MIT
# Runs in the interpreter before anything else: makes it look like a board. `_board` holds
# functions of the emulator (interpreter.mjs). Results of flash operations are 0 or -errno.
import _board, builtins, gc, io, json, os, sys, uctypes, vfs

EIO, EINVAL = 5, 22
config = json.loads(_board.config())


class Module:
    def __init__(self, name, native=None):
        self.__name__ = name
        for attribute in dir(native) if native else ():
            if not attribute.startswith("__"):
                setattr(self, attribute, getattr(native, attribute))

    def __repr__(self):
        return "<module '%s'>" % self.__name__


def program(number, off, buf, round_up=1):
    view = memoryview(buf)
    size = len(view)
    # Some ports round the length up and read past the end of the buffer; so do we.
    return _board.program(
        number, off, uctypes.addressof(view) if size else 0, -(-size // round_up) * round_up
    )


def checked(result):
    if result < 0:
        raise OSError(-result)


def block_device(number, size, block, flash):
    # As ports/rp2 and ports/esp32: ioctl, 3- and 4-argument writeblocks, buffer protocol.
    class Flash(memoryview):
        def readblocks(self, n, buf, off=0):
            at = n * block + off
            if at < 0 or at + len(buf) > size:
                checked(_board.out_of_range(number, at, len(buf)))
            memoryview(buf)[:] = flash[at : at + len(buf)]

        def writeblocks(self, n, buf, off=None):
            at = n * block + (off or 0)
            if at < 0 or at + len(buf) > size:
                checked(_board.out_of_range(number, at, len(buf)))
            if off is None:
                checked(_board.erase(number, at, len(buf)))
            checked(program(number, at, buf))

        def ioctl(self, op, arg):
            if op in (1, 2, 3):
                return 0
            if op == 4:
                return size // block
            if op == 5:
                return block
            if op == 6:
                if not 0 <= arg < size // block:
                    checked(_board.out_of_range(number, arg * block, block))
                checked(_board.erase(number, arg * block, block))
                return 0

    return Flash(flash)


class Partition:
    def __init__(self, number, spec):
        self.number, self.kind = number, spec["kind"]
        self.size, self.block, self.unit = spec["size"], spec["erase"], spec["unit"]
        flash = memoryview(uctypes.bytearray_at(spec["address"], self.size))
        if self.kind == "block":
            self.segment = block_device(number, self.size, self.block, flash)
        else:
            self.segment = flash

    def prepare(self, args):
        if self.kind in ("block", "readonly") or not args:
            return -EINVAL
        if self.kind == "whole":
            # As ports/esp8266: whatever else is given, the first argument is a length.
            off, size = 0, args[0]
        else:
            off, size = (0, args[0]) if len(args) == 1 else args[:2]
            if off < 0 or off + size > self.size:
                return -EINVAL
        if self.kind == "mram":
            return self.unit
        end = off + size
        off -= off % self.block
        result = _board.erase(self.number, off, max(0, -(-end // self.block) * self.block - off))
        return result if result < 0 else max(4, self.unit)

    def write(self, args):
        if self.kind in ("block", "readonly") or len(args) < 2:
            return -EINVAL
        off, buf = args
        if self.kind != "whole" and off + len(buf) > self.size:
            return -EINVAL
        over_reads = {"whole": 4, "mram": self.unit}
        return program(self.number, off, buf, over_reads.get(self.kind, 1))

    def min_prepare(self):
        return self.block if self.kind in ("partial", "mram") else -EINVAL


partitions = [Partition(n, spec) for n, spec in enumerate(config["partitions"])]


def rom_ioctl(op, number=None, *args):
    if op == 1:
        return config["segments"]
    if number is None or not 0 <= number < len(partitions):
        return -EINVAL
    p = partitions[number]
    if op == 2:
        return p.segment
    if op == 3:
        return p.prepare(args)
    if op == 4:
        return p.write(args)
    if op == 6:
        return p.min_prepare()
    return -EINVAL


def make_stdio():
    native_in, native_out = sys.stdin, sys.stdout

    class Stdin(io.IOBase):
        if config["stdin_buffer"]:
            buffer = open(config["fd_in"], "rb")

        def __getattr__(self, name):
            if name == "buffer":
                raise AttributeError(name)
            return getattr(native_in, name)

        def readinto(self, buf):
            return native_in.readinto(buf)

        def ioctl(self, op, arg):
            return (arg & 1 if _board.available() else 0) | arg & 4 if op == 3 else 0

    class Stdout(io.IOBase):
        if config["stdin_buffer"]:
            buffer = open(config["fd_out"], "wb")

        def __getattr__(self, name):
            if name == "buffer":
                raise AttributeError(name)
            return getattr(native_out, name)

        def write(self, buf):
            return native_out.write(buf)

        def ioctl(self, op, arg):
            return arg & 4 if op == 3 else 0

    return Stdin(), Stdout()


def make_sys():
    native = sys

    class Sys:
        __name__ = "sys"
        platform = config["platform"]
        implementation = os.namedtuple("implementation", "name version _machine _mpy")(
            "micropython", native.implementation.version, config["machine"], config["mpy"]
        )
        stdin, stdout = make_stdio()

        def __getattr__(self, name):
            return getattr(native, name)

        def __repr__(self):
            return "<module 'sys'>"

    return Sys()


def make_machine():
    machine = Module("machine")
    if config["uid"]:
        machine.unique_id = lambda: bytes.fromhex(config["uid"])
    machine.freq = lambda *args: 150000000

    def soft_reset():
        raise SystemExit

    def reset():
        _board.hard_reset()
        raise SystemExit

    machine.soft_reset, machine.reset = soft_reset, reset
    return machine


def make_gc():
    module = Module("gc", gc)

    def collect():
        gc.collect()
        _board.collect()

    def mem_free():
        return max(0, config["heap"] - module.mem_alloc())

    base = gc.mem_alloc()
    module.mem_alloc = lambda: max(0, gc.mem_alloc() - base)
    module.collect, module.mem_free = collect, mem_free
    return module


def make_binascii():
    # In C on a board, in Python here: base64.mjs is as fast.
    import binascii

    module = Module("binascii", binascii)
    bytearray_, addressof = bytearray, uctypes.addressof

    def code(convert, data, size):
        data, out = memoryview(data), bytearray_(size)
        n = convert(addressof(data), len(data), addressof(out)) if len(data) else 0
        if n < 0:
            raise ValueError("incorrect padding")
        return memoryview(out)[:n]

    encode, decode = _board.b64encode, _board.b64decode

    def a2b_base64(data):
        return bytes(code(decode, data, len(data) // 4 * 3 + 3))

    def b2a_base64(data, *, newline=True):
        text = bytes(code(encode, data, (len(data) + 2) // 3 * 4))
        return text + b"\n" if newline else text

    module.a2b_base64, module.b2a_base64 = a2b_base64, b2a_base64
    return module


def uname():
    return os.namedtuple("uname", "sysname nodename release version machine")(
        config["platform"],
        config["platform"],
        "%d.%d.%d" % sys.implementation.version[:3],
        "v" + sys.version.split(" v")[-1],
        config["machine"],
    )


def hide_modules(hidden):
    native = builtins.__import__

    def import_(name, *args):
        if name.split(".")[0] in hidden:
            raise ImportError("no module named '%s'" % name)
        return native(name, *args)

    builtins.__import__ = import_


def mount_rom():
    # As extmod/vfs.c does at boot: segment 0 only, and silently.
    try:
        rom = partitions[0].segment if partitions and config["rom_ioctl"] else None
        if rom is not None:
            vfs.mount(vfs.VfsRom(rom), "/rom")
            sys.path[1:1] = ["/rom", "/rom/lib"]
    except OSError:
        pass


def run_main(source):
    import micropython

    micropython.kbd_intr(3)
    try:
        exec(source, __main__)
    except SystemExit:
        return True
    except BaseException as e:
        micropython.kbd_intr(-1)
        sys.print_exception(e)
    finally:
        micropython.kbd_intr(-1)


def install(main_globals):
    global __main__
    __main__ = main_globals
    vfs_module = Module("vfs", vfs)
    if config["rom_ioctl"]:
        vfs_module.rom_ioctl = rom_ioctl
    else:
        del vfs_module.rom_ioctl
    os.uname = uname
    mount_rom()
    sys.modules.update(
        {
            "vfs": vfs_module,
            "sys": make_sys(),
            "machine": make_machine(),
            "binascii": make_binascii(),
        }
    )
    del sys.modules["_board"]
    hide_modules(config["hidden"])
    gc.collect()
    _board.collect()
    sys.modules["gc"] = make_gc()
