#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What tools/check runs. It is called by tools/check, which has set everything up."""

import argparse
import glob
import os
import shutil
import sys
import time

from runner import Job, Runner, count_as_one, count_automake, count_by_lines

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUZZ_SECONDS = 60
# An exit code that is not one of the program's own.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1"
    ":exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "LSAN_OPTIONS": "exitcode=99",
}
# Sanitizers make everything several times slower.
FEWER_FAULTS = {
    "ROMOUNT_BOARDS": "6",
    "ROMOUNT_CUTS": "40",
    "ROMOUNT_KILLS": "5",
    "ROMOUNT_LINES": "1",
    "ROMOUNT_LINE_MIB": "2",
    "ROMOUNT_UNPLUGS": "4",
}
BUILDS = {
    "plain": ["--enable-werror"],
    "asan": ["--enable-werror", "--with-sanitizer=address,undefined", "CFLAGS=-O1 -g"],
    "fuzz": ["--enable-werror", "--enable-fuzzing", "CC=clang-14", "CFLAGS=-O1 -g"],
}


def tool(name):
    return os.path.join(TOP, "tools", name)


class Plan:
    def __init__(self, build_root, cpus):
        self.build_root = build_root
        self.cpus = cpus
        self.jobs = []

    def builddir(self, build):
        return os.path.join(self.build_root, build)

    def add(self, name, argv, **rest):
        self.jobs.append(Job(name, argv, **rest))

    def add_builds(self):
        for build, arguments in BUILDS.items():
            argv = [tool("build"), self.builddir(build), str(self.cpus), *arguments]
            self.add(f"build/{build}", argv)

    def add_units(self, build, env):
        directory = self.builddir(build)
        self.add(
            f"unit/{build}",
            # Their time is waiting for the disk, mostly.
            ["make", "-k", "-j2", "check", "VERBOSE=1"],
            after=[f"build/{build}"],
            cwd=directory,
            env=env,
            count=count_automake,
        )

    def add_suites(self, kind, build, env, after=()):
        """Each is given a build and prints a line for each test."""
        for path in sorted(glob.glob(os.path.join(TOP, "tests", kind, "suite_*"))):
            if not os.access(path, os.X_OK):
                continue
            name = os.path.basename(path).split(".")[0].removeprefix("suite_")
            self.add(
                f"{kind}/{name}/{build}",
                [path],
                after=[f"build/{build}", *after],
                env={**env, "BUILDDIR": self.builddir(build), "SRCDIR": TOP},
                count=count_by_lines,
            )

    def add_fuzzers(self):
        for source in sorted(glob.glob(os.path.join(TOP, "tests/fuzz/fuzz_*.c"))):
            name = os.path.basename(source)[:-2]
            self.add(
                f"fuzz/{name.removeprefix('fuzz_')}",
                [tool("fuzz"), self.builddir("fuzz"), name, str(FUZZ_SECONDS)],
                after=["build/fuzz"],
                env=SANITIZERS,
                count=count_as_one,
            )

    def add_all(self):
        self.add_builds()
        self.add("style", [tool("check-style")], count=count_by_lines)
        self.add(
            "distcheck",
            [tool("check-dist"), self.builddir("plain")],
            after=["build/plain"],
            count=count_by_lines,
        )
        # The package that is tested in a system is the one that was built and looked at.
        package = {"KEEP": os.path.join(self.builddir("plain"), "package")}
        self.add_suites("package", "plain", package)
        self.add_suites("system", "plain", {}, after=["package/debian/plain"])
        self.add_fuzzers()
        for build, env, faults in (
            ("plain", {}, {}),
            ("asan", SANITIZERS, FEWER_FAULTS),
        ):
            self.add_units(build, env)
            self.add_suites("mount", build, env)
            self.add_suites("daemon", build, {**env, **faults})
            self.add_suites("faults", build, {**env, **faults})


def select(jobs, wanted):
    """The jobs whose name begins with one of the words, and what they need."""
    names = {job.name for job in jobs if not wanted or job.name.startswith(tuple(wanted))}
    for job in reversed(jobs):
        if job.name in names:
            names.update(job.after)
    return [job for job in jobs if job.name in names]


def report(runner, seconds):
    total = runner.total
    if total.skips:
        print("\nSkipped:")
        for name, why in total.skips:
            print(f"  {name}: {why}")
    if total.failures:
        print("\nFailed:")
        for name in total.failures:
            print(f"  {name}")
    print(f"\n{seconds / 60:.1f} minutes; logs in {runner.log_dir}")
    print(f"{total.passed} passed, {len(total.failures)} failed, {len(total.skips)} skipped")


def main():
    cpus = os.cpu_count() or 2
    parser = argparse.ArgumentParser(
        prog="tools/check",
        description="Sets up, builds and runs all tests, or those suites whose names begin "
        "with SUITE.",
    )
    parser.add_argument("suite", metavar="SUITE", nargs="*")
    parser.add_argument("--list", action="store_true", help="name the suites and do nothing")
    # Suites wait for boards, disks and clocks more than they compute: a third of their time
    # is a processor's.
    parser.add_argument(
        "-j", "--jobs", type=int, default=cpus + cpus // 2, help="suites at a time")
    parser.add_argument("--build", default=os.path.join(TOP, "build", "check"), metavar="DIR")
    options = parser.parse_args()

    plan = Plan(os.path.abspath(options.build), cpus)
    plan.add_all()
    jobs = select(plan.jobs, options.suite)
    if options.list:
        print("\n".join(job.name for job in jobs if job.count))
        return 0
    if not jobs:
        parser.error("no suite of that name; --list names them")
    logs = os.path.join(plan.build_root, "logs")
    shutil.rmtree(logs, ignore_errors=True)
    os.makedirs(logs)
    runner = Runner(logs, options.jobs)
    for job in jobs:
        runner.add(job)
    start = time.monotonic()
    good = runner.run()
    report(runner, time.monotonic() - start)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
