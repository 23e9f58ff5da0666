#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-bench memory: what gemeld keeps resident on both nodes of a mirror for a tree of many
files: after its first synchronisation, after a walk over all of it, with many files changed while
the peer is away, and after the resync of those. Needs root."""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import table  # noqa: E402
from contenders import clean_up_when_terminated, resident  # noqa: E402
from lab import DATA_PATH, Lab  # noqa: E402

PYTHON = "/usr/bin/python3"
MIB = 1 << 20
LIMIT, LIMIT_OF_DIRTY_FILE = 64 * MIB, 200      # bytes
SYNC_TIMEOUT_S = 3600
FILE_SIZE = 100

# Writes a block into the first N files below a directory.
CHANGE_FILES = """
import os, sys
left = int(sys.argv[2])
for directory, _, names in os.walk(sys.argv[1]):
    for name in names[:left]:
        file = os.open(os.path.join(directory, name), os.O_WRONLY)
        os.pwrite(file, b"changed " * 512, 0)
        os.close(file)
    left -= len(names[:left])
    if left == 0:
        sys.exit()
sys.exit("too few files")
"""


def parse():
    parser = argparse.ArgumentParser(
        prog="gemel-bench memory", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--files", type=int, help="in the tree", default=1_000_000)
    add("--dirty", type=int, help="of them changed while the peer is away", default=100_000)
    add("--dir", metavar="BASE", help="where all the data lie", default="/var/tmp")
    options = parser.parse_args()
    options.dirty = min(options.dirty, options.files)
    return options


class Report:
    def __init__(self, lab):
        self.lab = lab
        self.rows = []
        self.begin = time.monotonic()

    def add(self, step, dirty_files=0):
        """A row for what has just been done."""
        taken = time.monotonic() - self.begin
        limit = LIMIT + dirty_files * LIMIT_OF_DIRTY_FILE
        cells, highest = [], 0
        for node in ("alpha", "beta"):
            daemon = self.lab[node].daemon
            if daemon is None:
                cells.append("-")
                continue
            sizes = resident(daemon.pid)
            highest = max(highest, sizes["VmHWM"])
            cells.append(f"{sizes['VmRSS'] / MIB:.1f} / {sizes['VmHWM'] / MIB:.1f}")
        self.rows.append([step, f"{taken:.0f}", *cells, f"{limit / MIB:.1f}",
                          "yes" if highest <= limit else "no"])
        print(f"{step}: {taken:.0f} s", file=sys.stderr, flush=True)
        self.begin = time.monotonic()

    def show(self):
        print(table.render(["MiB resident now / at most", "seconds", "alpha", "beta", "limit",
                            "kept"], self.rows))


def measure(lab, bench, options, report):
    subprocess.run([bench, "load", "create", "--keep", "--count", str(options.files), "--size",
                    str(FILE_SIZE), "--dir", str(lab["alpha"].bare)], check=True,
                   stdout=subprocess.DEVNULL)
    report.begin = time.monotonic()
    lab.start()
    lab.wait_pair(SYNC_TIMEOUT_S)
    report.add(f"first synchronisation of {options.files} files")
    for node in ("alpha", "beta"):
        lab[node].inside("find", DATA_PATH, "-size", "+1M")
    report.add("a walk over the tree on both nodes")
    lab["beta"].kill_daemon()
    lab.wait_state("alpha", "alone")
    report.begin = time.monotonic()
    lab["alpha"].inside(PYTHON, "-c", CHANGE_FILES, DATA_PATH, str(options.dirty))
    report.add(f"{options.dirty} files changed without the peer", options.dirty)
    lab.start("beta")
    lab.wait_pair(SYNC_TIMEOUT_S)
    report.add("their resync", options.dirty)


def main():
    options = parse()
    clean_up_when_terminated()
    if os.geteuid() != 0:
        sys.exit("gemel-bench memory: needs root, for namespaces and mounts")
    binaries = pathlib.Path(os.environ["GEMEL_BIN"])
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="gemel-bench-", dir=options.dir))
        lab = stack.enter_context(Lab(binaries, directory=base))
        report = Report(lab)
        with lab.explained():
            measure(lab, str(binaries / "gemel-bench"), options, report)
        report.show()


if __name__ == "__main__":
    main()
