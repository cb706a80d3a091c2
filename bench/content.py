# SPDX-License-Identifier: MIT
"""Trees to write, {path: bytes}: of random bytes, which nothing compresses, and of Python
sources, which deflate makes about three times smaller (with the 4 KiB that a board can
afford)."""

import random

from model import RANDOM, SOURCES

CHANGED = "d2/changed.bin"
CHANGED_SIZE = 2048
FOLDERS = 10

WORDS = ("value count index name data state event buffer offset length result error handler "
         "config timer sensor pixel colour width height queue message client server packet "
         "header stream reader writer socket address device driver signal channel frame "
         "sample window layer model cache entry token parser symbol scope level weight").split()

MODULE = '''"""Generated: {a} and {b} of the {c}."""
import {a}_{n}

{B} = const({x})
_{C} = {y}


'''

CLASS = '''class {A}{B}{n}:
    """Keeps the {c} of a {d}."""

    def __init__(self, {a}, {b}={x}):
        self.{a} = {a}
        self.{b} = {b}
        self._{c} = []

    def {c}_{d}(self, {b}=None):
        if {b} is None:
            {b} = self.{b} + {y}
        for {d} in self._{c}:
            if {d}.{a} == {b}:
                return {d}
        raise ValueError("no {d} with the {a} %r" % {b})

    def add_{d}(self, {d}):
        self._{c}.append({d})
        return len(self._{c}) * {z}


'''

FUNCTION = '''def {a}_{b}_{n}({c}, {d}={x}):
    {e} = {c}[{d} & {y}:]
    while {e} and {e}[0] != 0x{z:04x}:
        {e} = {e}[{y} % len({e}):]
    return {e} or {A}{B}({c}, {d})


'''


def _random_file(rng, size):
    return rng.randbytes(size)


def _source_file(rng, size):
    parts, have = [], 0
    while have < size:
        names = dict(zip("abcde", rng.sample(WORDS, 5)))
        names.update({key.upper(): word.capitalize() for key, word in names.items()})
        form = MODULE if not parts else rng.choice((CLASS, FUNCTION, FUNCTION))
        text = form.format(n=rng.randrange(1000), x=rng.randrange(100000),
                           y=rng.randrange(256), z=rng.randrange(65536), **names)
        parts.append(text)
        have += len(text)
    return "".join(parts).encode()[:size - 1] + b"\n"


def make(kind, size, files, seed="bench"):
    """`files` files in ten folders, `size` bytes, one file of them small."""
    rng = random.Random("%s %s" % (kind, seed))
    shares = [rng.uniform(0.2, 1.8) for _ in range(files - 1)]
    unit = (size - CHANGED_SIZE) / sum(shares)
    make_file, suffix = {RANDOM: (_random_file, "bin"), SOURCES: (_source_file, "py")}[kind]
    tree = {CHANGED: b"\x5a" * CHANGED_SIZE}
    for i, share in enumerate(shares):
        tree["d%d/f%03d.%s" % (i % FOLDERS, i, suffix)] = make_file(rng, max(2, int(share * unit)))
    return tree


def size_of(tree):
    return sum(map(len, tree.values()))
