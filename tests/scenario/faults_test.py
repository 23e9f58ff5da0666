#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds of faults at random moments against two real nodes that are being written to. After each
round nothing that was acknowledged may be missing where the mirror is served, and after the last
one both copies must be equal. GEMEL_ROUNDS sets how many (default 8); GEMEL_SEED repeats a run."""

import os
import pathlib
import random
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402

PYTHON = "/usr/bin/python3"
ROUNDS = int(os.environ.get("GEMEL_ROUNDS", "8"))
SEED = int(os.environ.get("GEMEL_SEED", str(random.SystemRandom().randrange(10**6))))


class Faults:
    """Each fault begins at once and returns what ends it."""

    def __init__(self, lab, chance):
        self.lab = lab
        self.chance = chance

    def kill_serving(self, serving, other):
        self.lab[serving].kill_daemon()
        return lambda: self.lab.start(serving)

    def kill_other(self, serving, other):
        self.lab[other].kill_daemon()
        return lambda: self.lab.start(other)

    def lose_serving_node(self, serving, other):
        self.lab.isolate(serving)
        self.lab[serving].kill_daemon()

        def back():
            self.lab.rejoin(serving)
            self.lab.start(serving)
        return back

    def isolate_serving(self, serving, other):
        self.lab.isolate(serving)
        return lambda: self.lab.rejoin(serving)

    def isolate_other(self, serving, other):
        self.lab.isolate(other)
        return lambda: self.lab.rejoin(other)

    def cut_serving_to_other(self, serving, other):
        self.lab.cut(serving, other)
        return lambda: self.lab.heal(serving)

    def cut_other_to_serving(self, serving, other):
        self.lab.cut(other, serving)
        return lambda: self.lab.heal(other)

    def swap(self, serving, other):
        self.lab.gemel(serving, "swap", "data", check=False)
        return lambda: None

    def kill_witness(self, serving, other):
        self.lab["witness"].kill_daemon()
        return lambda: self.lab.start("witness")

    def choose(self):
        names = [name for name in vars(Faults) if not name.startswith("_") and name != "choose"]
        return self.chance.choice(sorted(names))


class FaultsTest(unittest.TestCase):
    def writer(self, lab, node, log):
        return lab[node].spawn(PYTHON, str(HERE / "recorder.py"), "write", DATA_PATH, str(log),
                               stdout=-3, stderr=-3)

    def check(self, lab, node, log, what):
        result = lab[node].inside(PYTHON, str(HERE / "recorder.py"), "check", DATA_PATH, str(log),
                                  check=False)
        self.assertEqual(result.returncode, 0, f"{what}: {result.stdout}{result.stderr}")

    def serving(self, lab):
        for node in ("alpha", "beta"):
            if lab.state(node) in ("alone", "primary"):
                return node
        return None

    def test_nothing_acknowledged_is_lost(self):
        chance = random.Random(SEED)
        print(f"GEMEL_SEED={SEED} GEMEL_ROUNDS={ROUNDS}", flush=True)
        with Lab(default_binaries()) as lab, lab.explained():
            log = lab.root / "acknowledged"
            log.touch()
            faults = Faults(lab, chance)
            lab.start()
            lab.wait_pair()
            for number in range(ROUNDS):
                serving, other = lab.wait_pair()
                writer = self.writer(lab, serving, log)
                time.sleep(chance.uniform(0.1, 1.0))
                name = faults.choose()
                what = f"round {number}, {name} ({serving} serves)"
                print(what, flush=True)
                end = getattr(faults, name)(serving, other)
                time.sleep(chance.uniform(0.1, 3.0))
                # Where it is served now, everything that was acknowledged so far is there.
                now = self.serving(lab)
                if now is not None and now != serving:
                    self.check(lab, now, log, f"{what}, on {now}")
                end()
                lab.wait_pair()
                writer.kill()
                writer.wait()
                primary, _ = lab.wait_pair()
                self.check(lab, primary, log, f"{what}, healed")
            primary, secondary = lab.wait_pair()
            lab.gemel(primary, "stop", "data")
            lab.gemel(secondary, "stop", "data")
            differences = compare(lab["alpha"].bare, lab["beta"].bare)
            self.assertEqual(differences[:20], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
