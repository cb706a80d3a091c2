# SPDX-License-Identifier: MIT
"""A ROMFS writer of its own, for tests: what the program writes is compared with what
this writes from the description of the format. It can also write what no sane writer
would. A tree is a dict of names (bytes) to bytes (a file) or dicts (folders)."""

MAGIC = b"\xd2\xcd\x31"
PADDING, VERBATIM, POINTER, DIRECTORY, FILE = 1, 2, 3, 4, 5


def varuint(value, digits=1):
    """Big end first, seven bits a byte, all but the last with the top bit set."""
    out = [value & 0x7F]
    while value > 0x7F or len(out) < digits:
        value >>= 7
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def record(kind, payload):
    return varuint(kind) + varuint(len(payload)) + payload


def named(kind, name, payload):
    return record(kind, varuint(len(name)) + name + payload)


def file_record(name, data):
    return named(FILE, name, record(VERBATIM, data))


def pointer_record(name, size, offset):
    return named(FILE, name, record(POINTER, varuint(size) + varuint(offset)))


def directory_record(name, payload):
    return named(DIRECTORY, name, payload)


def tree_payload(tree):
    out = b""
    for name in sorted(tree):
        what = tree[name]
        if isinstance(what, dict):
            out += directory_record(name, tree_payload(what))
        else:
            out += file_record(name, what)
    return out


def image(payload):
    """The header's length gets a leading zero digit where the whole would be odd."""
    length = varuint(len(payload))
    if (len(MAGIC) + len(length) + len(payload)) % 2:
        length = b"\x80" + length
    return MAGIC + length + payload


def build(tree):
    return image(tree_payload(tree))
