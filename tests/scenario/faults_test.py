#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds of faults at random moments against two real nodes that are being written to: while files
are written, while they are renamed, in the middle of a resync, in the middle of a swap. After each
round nothing that was acknowledged may be missing where the mirror is served, and after the last
one both copies must be equal. Every fault meets every moment once before any does again.
GEMEL_ROUNDS sets how many (default 8); GEMEL_SEED repeats a run."""

import os
import pathlib
import random
import signal
import subprocess
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
BALLAST = 96 << 20   # written before a resync, so that there is a middle to hit


class BrokenPromise(AssertionError):
    """Something acknowledged is missing, or the copies differ."""


class Faults:
    """Each fault begins at once and returns what ends it."""

    def __init__(self, lab):
        self.lab = lab
        self.paused = set()   # their gemeld answers nobody

    def kill_serving(self, serving, other):
        self.lab[serving].kill_daemon()
        return lambda: self.lab.start(serving)

    def kill_other(self, serving, other):
        return self.kill_serving(other, serving)

    def pause_serving(self, serving, other):
        self.paused.add(serving)
        self.lab[serving].daemon.send_signal(signal.SIGSTOP)

        def back():
            self.lab[serving].daemon.send_signal(signal.SIGCONT)
            self.paused.discard(serving)
        return back

    def pause_other(self, serving, other):
        return self.pause_serving(other, serving)

    def lose_serving_node(self, serving, other):
        self.lab.isolate(serving)
        self.lab[serving].kill_daemon()

        def back():
            self.lab.rejoin(serving)
            self.lab.start(serving)
        return back

    def lose_other_node(self, serving, other):
        return self.lose_serving_node(other, serving)

    def isolate_serving(self, serving, other):
        self.lab.isolate(serving)
        return lambda: self.lab.rejoin(serving)

    def isolate_other(self, serving, other):
        return self.isolate_serving(other, serving)

    def cut_serving_to_other(self, serving, other):
        self.lab.cut(serving, other)
        return lambda: self.lab.heal(serving)

    def cut_other_to_serving(self, serving, other):
        return self.cut_serving_to_other(other, serving)

    def mute_serving(self, serving, other):
        self.lab.cut(serving)
        return lambda: self.lab.heal(serving)

    def mute_other(self, serving, other):
        return self.mute_serving(other, serving)

    def kill_witness(self, serving, other):
        return self.kill_serving("witness", None)


FAULTS = sorted(name for name in vars(Faults) if not name.startswith("_"))


class Rounds:
    """One lab, its writers and what they have been told."""

    def __init__(self, lab, chance):
        self.lab = lab
        self.chance = chance
        self.deck = []   # moments and faults still to be played before they all come again
        self.faults = Faults(lab)
        self.log = lab.root / "acknowledged"
        self.log.touch()
        self.processes = []

    def spawn(self, node, *command):
        self.processes.append(self.lab[node].spawn(*command, stdin=subprocess.DEVNULL,
                                                   stdout=subprocess.DEVNULL,
                                                   stderr=subprocess.DEVNULL))

    def write_on(self, node, kinds="awfmxd"):
        self.spawn(node, PYTHON, str(HERE / "recorder.py"), "write", DATA_PATH, str(self.log),
                   kinds)

    def end_processes(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes = []

    def check_on(self, node, what):
        """False when `node` shows the volume no more, because the roles change."""
        result = self.lab[node].inside(PYTHON, str(HERE / "recorder.py"), "check", DATA_PATH,
                                       str(self.log), check=False)
        if result.returncode not in (0, 2):
            raise BrokenPromise(f"{what}: {result.stdout}{result.stderr}")
        return result.returncode == 0

    def check_healed(self, what):
        """A swap may still be under way, and the one who was asked for it is gone."""
        for _ in range(10):
            primary, _ = self.lab.wait_pair()
            if self.check_on(primary, what):
                return
        raise AssertionError(f"{what}: the volume cannot be read")

    def serving(self):
        for node in ("alpha", "beta"):
            if node not in self.faults.paused and self.lab.state(node) in ("alone", "primary"):
                return node
        return None

    # --- The moments at which a fault comes ---------------------------------------------------

    def while_writing(self, serving, other):
        self.write_on(serving, "aw")
        time.sleep(self.chance.uniform(0.1, 1.0))

    def while_renaming(self, serving, other):
        self.write_on(serving, "fmxd")
        time.sleep(self.chance.uniform(0.1, 1.0))

    def while_resyncing(self, serving, other):
        """The other node was away and is being filled, while more is written."""
        self.write_on(serving)
        self.lab[other].kill_daemon()
        self.lab.wait_state(serving, "alone")
        ballast = os.path.join(DATA_PATH, "ballast")
        self.lab[serving].inside("dd", "if=/dev/urandom", f"of={ballast}", "bs=1M",
                                 f"count={BALLAST >> 20}", "conv=notrunc", "status=none")
        self.lab.start(other)
        self.lab.wait_state(other, "resync", "secondary")
        time.sleep(self.chance.uniform(0.0, 0.5))

    def while_swapping(self, serving, other):
        self.write_on(serving)
        asked = self.chance.choice((serving, other))
        self.spawn(asked, str(self.lab.binaries / "gemel"), "--run",
                   str(self.lab[asked].run_directory), "swap", "data")
        time.sleep(self.chance.uniform(0.0, 0.6))

    MOMENTS = (while_writing, while_renaming, while_resyncing, while_swapping)

    def deal(self):
        if not self.deck:
            self.deck = [(moment, fault) for moment in self.MOMENTS for fault in FAULTS]
            self.chance.shuffle(self.deck)
        return self.deck.pop()

    def play(self, number):
        moment, name = self.deal()
        serving, other = self.lab.wait_pair()
        what = f"round {number}, {name} {moment.__name__} ({serving} serves)"
        print(what, flush=True)
        moment(self, serving, other)
        end = getattr(self.faults, name)(serving, other)
        time.sleep(self.chance.uniform(0.1, 3.0))
        # Where it is served now, everything that was acknowledged so far is there, and the
        # application goes on.
        now = self.serving()
        if now is not None and now != serving:
            self.check_on(now, f"{what}, on {now}")
            self.write_on(now)
        end()
        self.lab.wait_pair()
        self.end_processes()
        self.check_healed(f"{what}, healed")


    def end(self):
        for node in self.faults.paused:
            self.lab[node].daemon.send_signal(signal.SIGCONT)
        self.end_processes()

    def compare_copies(self):
        primary, secondary = self.lab.wait_pair()
        self.lab.gemel(primary, "stop", "data")
        self.lab.gemel(secondary, "stop", "data")
        differences = compare(self.lab["alpha"].bare, self.lab["beta"].bare)
        if differences:
            raise BrokenPromise(f"the copies differ: {differences[:20]}")


class FaultsTest(unittest.TestCase):
    def test_nothing_acknowledged_is_lost(self):
        print(f"GEMEL_SEED={SEED} GEMEL_ROUNDS={ROUNDS}", flush=True)
        with Lab(default_binaries()) as lab, lab.explained():
            rounds = Rounds(lab, random.Random(SEED))
            lab.start()
            try:
                for number in range(ROUNDS):
                    rounds.play(number)
            finally:
                rounds.end()
            rounds.compare_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
