# SPDX-License-Identifier: MIT
"""The real mpremote beside romount, where MPREMOTE names the directory that its package is
in. It runs under the first Python that has what it needs (pyserial, platformdirs)."""

import functools
import os
import subprocess
import sys

import faultrig
import rig

PROGRAM = "import sys; from mpremote.main import main; sys.exit(main())"
WAIT = 1800


@functools.cache
def _python():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import serial, platformdirs"], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0:
            return python
    raise rig.Failed("MPREMOTE is set, but no Python here has pyserial and platformdirs "
                     "(Debian: python3-serial, python3-platformdirs)")


def is_there():
    return bool(os.environ.get("MPREMOTE"))


def deploy(bed, tree):
    """The Cost of its deployment of the tree, compared with what the board shows then."""
    source = bed.case.fresh("peer")
    faultrig.write_tree(source, tree)
    env = {**os.environ, "PYTHONPATH": os.path.abspath(os.environ["MPREMOTE"])}
    bed.settle()
    cost = bed.measure(lambda: rig.run(
        _python(), "-c", PROGRAM, "connect", bed.board.port, "romfs", "--partition", "0",
        "--no-mpy", "deploy", source, env=env, wait=WAIT))
    bed.must_show(tree)
    return cost
