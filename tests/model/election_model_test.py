#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""election.pml is checked by spin: no state breaks a promise, no run goes in circles, and every
rule that is broken on purpose is found. README.md beside this file says what the model is.

Usage: election_model_test.py [--faults N --writes N]
With numbers: only the model itself, within these bounds, states kept as hashes."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

MODEL = pathlib.Path(__file__).resolve().parent / "election.pml"
DEPTH_MAX = 20000
# Hash compaction (64 bits a state): with 20 million states the chance that one of them is taken
# for another is about 1 in 100,000.
HASHED = "-DHC4"

# What is broken, the smallest bounds within which it is found, and what else is defined.
BROKEN = {
    "ACKNOWLEDGES_UNHEARD": (1, 1),
    "ALONE_BEFORE_RECORDED": (1, 1),
    "GOES_ON_UNBEGUN": (2, 1),
    "JOINS_TOO_EARLY": (1, 1),
    "JOINS_UNSYNCED": (3, 1),
    "KEEPS_SESSION": (1, 2, "ONLY_SAFETY"),
    "NEVER_YIELDS": (1, 0),
    "OLD_HELLO": (1, 1),
    "OLD_ROLE": (1, 1),
    "SAME_INCARNATION": (1, 1),
    "SWAP_WITHOUT_COMPARING": (1, 1),
    "TAKEOVER_FROM_OUTSIDE": (1, 1),
    "UNKNOWN_IS_LOST": (2, 1),
    "WITNESS_FORGETS": (2, 1),
}


class Outcome:
    def __init__(self, text):
        self.text = text
        self.errors = int(re.search(r"errors: (\d+)", text).group(1))
        self.states = int(re.search(r"(\d+) states, stored", text).group(1))
        memory = re.search(r"([\d.]+)\s+total actual memory usage", text)
        self.memory_mb = float(memory.group(1)) if memory else 0.0
        self.asserted = "assertion violated" in text
        self.is_whole = not ("Search not completed" in text or "too small" in text)


def check(faults, writes, defines=(), compiler=(), cycles=False):
    """Explores the model within the bounds: all states, or up to the first that is wrong."""
    with tempfile.TemporaryDirectory(prefix="gemel-model-") as place:
        bounds = [f"-DFAULTS={faults}", f"-DWRITES={writes}"]
        run = lambda *argv: subprocess.run(  # noqa: E731
            argv, cwd=place, check=True, capture_output=True, text=True).stdout
        run("spin", "-a", *bounds, *(f"-D{name}" for name in defines), str(MODEL))
        # spin's own code has warnings; most models here are small: compiling them is what costs.
        run("gcc", "-w", "-DNOREDUCE", "-DNP" if cycles else "-DSAFETY", *compiler,
            "-o", "pan", "pan.c")
        return Outcome(run("./pan", f"-m{DEPTH_MAX}", *(["-l"] if cycles else [])))


class ElectionModel(unittest.TestCase):
    def report(self, what, outcome):
        print(f"{what}: {outcome.states:,} states, {outcome.memory_mb:.0f} MB", flush=True)

    def test_no_state_breaks_a_promise(self):
        outcome = check(2, 2, compiler=["-O1"])
        self.report("two faults, two writes", outcome)
        self.assertEqual(outcome.errors, 0, outcome.text)
        self.assertTrue(outcome.is_whole, outcome.text)
        self.assertGreater(outcome.states, 1_000_000)

    # Without a cycle every run ends, however unfairly it is scheduled.
    def test_no_run_goes_in_circles(self):
        outcome = check(2, 1, compiler=["-O1", HASHED], cycles=True)
        self.report("cycles", outcome)
        self.assertEqual(outcome.errors, 0, outcome.text)
        self.assertTrue(outcome.is_whole, outcome.text)

    def test_every_broken_rule_is_found(self):
        named = set(re.findall(r"\bBROKEN_(\w+)", MODEL.read_text(encoding="utf-8")))
        self.assertEqual(named, set(BROKEN))
        for name, (faults, writes, *defines) in BROKEN.items():
            with self.subTest(name):
                outcome = check(faults, writes, [f"BROKEN_{name}", *defines], ["-O0", HASHED])
                self.report(f"broken: {name}", outcome)
                self.assertTrue(outcome.asserted, f"nothing is wrong with {name}:\n{outcome.text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int)
    parser.add_argument("--writes", type=int, default=1)
    options, rest = parser.parse_known_args()
    if shutil.which("spin") is None:
        sys.exit("spin is not installed (Debian package `spin`)")
    if options.faults is None:
        unittest.main(argv=[sys.argv[0], *rest])
    outcome = check(options.faults, options.writes, compiler=["-O2", HASHED])
    print(outcome.text)
    sys.exit(0 if outcome.errors == 0 and outcome.is_whole else 1)


if __name__ == "__main__":
    main()
