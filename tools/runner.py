# SPDX-License-Identifier: MIT
"""Runs jobs in parallel, some after others, and counts what their logs say.

A job is a command with a log file. Its results are counted by a function that reads the
log (and whatever else the command left); a job that only prepares counts nothing unless it
fails. What depends on a failed job does not run, and is counted as failed.
"""

import os
import re
import signal
import subprocess
import time

TAIL_LINES = 80
TIMEOUT = 30 * 60  # seconds; a hung job must not hang the whole


class Counts:
    def __init__(self):
        self.passed = 0
        self.failures = []  # names
        self.skips = []  # (name, why)

    def add(self, other):
        self.passed += other.passed
        self.failures += other.failures
        self.skips += other.skips

    def __str__(self):
        parts = []
        if self.passed:
            parts.append(f"{self.passed} passed")
        if self.failures:
            parts.append(f"{len(self.failures)} failed")
        if self.skips:
            parts.append(f"{len(self.skips)} skipped")
        return ", ".join(parts)


class Job:
    def __init__(self, name, argv, after=(), count=None, env=None, cwd=None):
        self.name = name
        self.argv = argv
        self.after = list(after)
        self.count = count  # function(job) -> Counts; None: a step that only prepares
        self.env = env or {}
        self.cwd = cwd
        self.counts = Counts()
        self.state = "waiting"  # running, good, bad
        self.why = ""  # of a bad one
        self.started = self.seconds = 0.0
        self.process = None
        self.code = None
        self.log = None


# --- counting ---------------------------------------------------------------------------

LINE = re.compile(r"^(ok|not ok|FAIL|skip) +(?:\d+ )?(?:- )?(.*)$")
TRAILER = re.compile(r"\(exit status: \d+\)$")  # automake's, behind a program's own lines
CMOCKA = re.compile(r"^\[  *(OK|FAILED|SKIPPED)  *\] (\S+?):? *$")
CMOCKA_SUM = re.compile(r"^\[  *(PASSED|FAILED|SKIPPED)  *\] [0-9]+ test\(s\)")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def count_lines(text, prefix=""):
    """Lines `ok NAME`, `not ok NAME - why`, `skip NAME - why`."""
    counts = Counts()
    for line in text.splitlines():
        m = LINE.match(line)
        if not m or TRAILER.search(line):
            continue
        name, _, why = m[2].partition(" - ")
        if m[1] == "ok" and why.lower().startswith("skip"):
            counts.skips.append((prefix + name, why))
        elif m[1] == "ok":
            counts.passed += 1
        elif m[1] == "skip":
            counts.skips.append((prefix + name, why or "no reason given"))
        else:
            counts.failures.append(prefix + name + (f": {why}" if why else ""))
    return counts


def count_cmocka(text, prefix=""):
    counts = Counts()
    failed = set()
    for line in text.splitlines():
        if CMOCKA_SUM.match(line):
            continue
        m = CMOCKA.match(line)
        if not m:
            continue
        if m[1] == "OK":
            counts.passed += 1
        elif m[1] == "SKIPPED":
            counts.skips.append((prefix + m[2], "the test says so"))
        else:
            failed.add(prefix + m[2])
    counts.failures = sorted(failed)
    return counts


def count_by_lines(job):
    return count_lines(read(job.log), job.name + ": ")


def count_as_one(job):
    """A job that is one test: its exit code says all."""
    counts = Counts()
    if job.code == 0:
        counts.passed = 1
    return counts


def count_automake(job):
    """A build directory after `make check`: one .trs and one .log per test program."""
    counts = Counts()
    for folder, _, files in os.walk(os.path.join(job.cwd, "tests")):
        for name in sorted(files):
            if not name.endswith(".trs"):
                continue
            path = os.path.join(folder, name[:-4])
            # Left by an earlier run of a test that is no more.
            if os.path.getmtime(path + ".trs") < job.wall_start - 1:
                continue
            counts.add(count_program(path, f"{job.name}: {name[:-4]}"))
    return counts


def count_program(path, name):
    text = read(path + ".log")
    counts = count_cmocka(text, name + "/")
    counts.add(count_lines(text, name + "/"))
    m = re.search(r"^:test-result: (\w+)", read(path + ".trs"), re.M)
    result = m[1] if m else "ERROR"
    if result == "SKIP":
        last = text.strip().splitlines()[-2:-1] or ["no reason given"]
        counts.skips.append((name, last[0]))
    elif result != "PASS" and not counts.failures:
        counts.failures.append(name)  # crashed, or said nothing
    elif result == "PASS" and not counts.passed and not counts.skips:
        counts.passed = 1  # a program that is one test
    return counts


# --- running ----------------------------------------------------------------------------


class Runner:
    def __init__(self, log_dir, slots):
        self.log_dir = log_dir
        self.slots = slots
        self.jobs = []
        self.total = Counts()

    def add(self, job):
        job.log = os.path.join(self.log_dir, job.name.replace("/", "-") + ".log")
        self.jobs.append(job)
        return job

    def start(self, job):
        with open(job.log, "wb") as log:
            job.wall_start = time.time()
            job.started = time.monotonic()
            # A session of its own, so that a hung job can be ended with its children.
            job.process = subprocess.Popen(
                job.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job.cwd,
                env={**os.environ, **job.env},
                start_new_session=True,
            )
        job.state = "running"

    def end(self, job, code):
        job.seconds = time.monotonic() - job.started
        job.code = code
        if job.count:
            job.counts = job.count(job)
        if code != 0 and not job.why:
            job.why = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
        if code != 0 and not job.counts.failures:
            job.counts.failures.append(job.name)
        if code == 0 and job.count and not str(job.counts):
            job.why = "it tested nothing"
            job.counts.failures.append(job.name)
        self.settle(job)

    def settle(self, job):
        job.state = "bad" if job.counts.failures else "good"
        self.total.add(job.counts)
        word = "FAIL" if job.state == "bad" else "ok" if job.count else "done"
        text = str(job.counts)
        if job.why:
            text += f" ({job.why})"
        print(f"{word:<5} {job.name:<28} {job.seconds:7.1f} s  {text}".rstrip(), flush=True)
        if job.state == "bad" and job.process:
            self.show_tail(job)

    def show_tail(self, job):
        lines = read(job.log).splitlines()
        for name in job.counts.failures:
            print(f"      failed: {name}")
        print(f"      --- the end of {job.log}")
        for line in lines[-TAIL_LINES:]:
            print(f"      | {line}")
        print("      ---", flush=True)

    def next_job(self):
        states = {job.name: job.state for job in self.jobs}
        for job in self.jobs:
            if job.state != "waiting":
                continue
            broken = [name for name in job.after if states.get(name, "good") == "bad"]
            if broken:
                job.why = f"{broken[0]} failed"
                job.counts.failures.append(job.name)
                self.settle(job)
                return self.next_job()
            if all(states.get(name, "good") == "good" for name in job.after):
                return job
        return None

    def reap(self, running):
        for job in running:
            code = job.process.poll()
            if code is None and time.monotonic() - job.started > TIMEOUT:
                job.why = f"no end after {TIMEOUT // 60} minutes"
                os.killpg(job.process.pid, signal.SIGKILL)
                code = job.process.wait()
            if code is not None:
                self.end(job, code)

    def run(self):
        """True when nothing failed."""
        while True:
            running = [job for job in self.jobs if job.state == "running"]
            while len(running) < self.slots:
                job = self.next_job()
                if not job:
                    break
                self.start(job)
                running.append(job)
            if not running:
                break
            try:
                running[0].process.wait(timeout=0.1 if len(running) > 1 else 1)
            except subprocess.TimeoutExpired:
                pass
            self.reap(running)
        return not self.total.failures
