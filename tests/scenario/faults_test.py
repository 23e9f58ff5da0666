#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The matrix: rounds of faults (matrix/faults.py) at moments (matrix/moments.py) against two real
nodes and a witness that clients (matrix/clients.py) work on. Every combination is played once
before any comes again, and the table of what was played is printed at the end.

In each round nothing that was acknowledged may be missing where the mirror is served while the
fault lasts and after it, two nodes may never acknowledge at once, the pair has to be in sync again
by itself, the client has to go on, and after a fault of disks or power both copies have to be
equal.

GEMEL_ROUNDS sets how many (default 6), GEMEL_SEED repeats a run; GEMEL_FAULT, GEMEL_MOMENT and
GEMEL_CLIENT leave the matrix these names only, separated by commas; GEMEL_KEEP names a directory
for all logs of a run that fails."""

import itertools
import os
import pathlib
import random
import shutil
import signal
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "matrix"))
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
import sessions  # noqa: E402
import unpacked  # noqa: E402
from clients import CLIENTS, PATIENCE_S, PYTHON, Postgres, Recorder  # noqa: E402
from deck import Deck, Hand  # noqa: E402
from faults import FAULTS, OF_DISKS, Faults, forgets_acknowledged  # noqa: E402
from lab import DATA_PATH, NODES, default_binaries  # noqa: E402
from machines import MatrixLab  # noqa: E402
from moments import MOMENTS, Moments  # noqa: E402
from tree_compare import compare  # noqa: E402

ROUNDS = int(os.environ.get("GEMEL_ROUNDS", "6"))
SEED = int(os.environ.get("GEMEL_SEED", str(random.SystemRandom().randrange(10**6))))
KEEP = os.environ.get("GEMEL_KEEP")
PERSON_S = 0.5        # between two looks of a person who helps
SHOWN = 20            # differences of two copies
BARRIER = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))"


def playable():
    """The names of the clients whose programs can be had here."""
    if not unpacked.missing():
        return list(CLIENTS)
    print(f"left out: {Postgres.NAME}; {unpacked.missing()}", flush=True)
    return [name for name in CLIENTS if name != Postgres.NAME]


def chosen(variable, names):
    """Those that the environment names, or all."""
    only = [name for name in os.environ.get(variable, "").split(",") if name]
    unknown = set(only) - set(names)
    if unknown:
        sys.exit(f"{variable}: no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return only or list(names)


class BrokenPromise(AssertionError):
    """Something acknowledged is missing, two nodes acknowledged at once, or the copies differ."""


class Rounds:
    """One lab, its clients and what they have been told."""

    def __init__(self, lab, chance):
        self.lab = lab
        self.chance = chance
        self.clients = {}       # in use so far
        self.client = None      # of this round
        self.faults = Faults(lab, chance, self.power_is_back)
        self.moments = Moments(lab, chance)
        self.served_last = None
        self.said = ""          # by the last check
        self.stopped = []       # times in this round in which the client was stopped by the test

    def client_named(self, name):
        if name not in self.clients:
            self.clients[name] = CLIENTS[name](self.lab)
        return self.clients[name]

    def power_is_back(self, node):
        if node in NODES:
            self.client.end_on(node)
            self.client.begin_on(node)

    def serving(self):
        for node in NODES:
            if node not in self.faults.silent and self.lab.state(node) in ("alone", "primary"):
                return node
        return None

    # --- What must hold -----------------------------------------------------------------------

    def check_on(self, node, what):
        """False when `node` shows the volume no more, because the roles change."""
        result = self.client.check_on(node)
        if result.returncode not in (0, 2):
            raise BrokenPromise(f"{what}: {result.stdout}{result.stderr}")
        self.said = result.stdout + result.stderr
        return result.returncode == 0

    def check_while_it_lasts(self, serving, what):
        """Where it is served now, everything that was acknowledged so far is there."""
        now = self.serving()
        if now is None or now == serving:
            return
        begin = time.monotonic_ns()
        self.client.end_on(now)
        self.check_on(now, f"{what}, on {now}")
        self.client.begin_on(now)
        self.stopped.append((begin, time.monotonic_ns()))

    def check_healed(self, what):
        """A swap may still be under way, and the one who was asked for it is gone."""
        for _ in range(10):
            primary, _ = self.lab.wait_pair()
            if self.check_on(primary, what):
                return
        raise AssertionError(f"{what}: the volume cannot be read: {self.said}")

    def check_history(self, since, what):
        """What the client was told in this round, and by whom."""
        acknowledged = self.client.acknowledged(since)
        problem = sessions.find_overlap(acknowledged)
        if problem is None and self.client.NUMBERS_ARE_DENSE:
            problem = sessions.find_repeated(self.client.acknowledged())
        if problem is not None:
            raise BrokenPromise(f"{what}: {problem}")

    def compare_copies(self):
        """Requires: no client works."""
        self.lab.wait_pair()
        differences = compare(*(self.lab.bare(node) for node in NODES))
        if differences:
            raise BrokenPromise(f"the copies differ: {differences[:SHOWN]}")

    # --- A round ------------------------------------------------------------------------------

    def take_turns(self):
        """A node that serves for one round after another loses the other so often that it takes it
        in later each time."""
        serving, other = self.lab.wait_pair()
        if serving == self.served_last:
            self.lab.gemel(serving, "swap", "data")
            serving, other = self.lab.wait_pair()
        self.served_last = serving
        return serving, other

    def play(self, number, hand):
        """Returns the client's longest wait (s)."""
        serving, other = self.take_turns()
        what = f"round {number}, {hand.fault} at {hand.moment} under {hand.client}"
        print(f"{what} ({serving} serves)", flush=True)
        self.client = self.client_named(hand.client)
        self.client.prepare(serving)
        # Whatever was acknowledged so far is on stable storage.
        self.lab[serving].inside(PYTHON, "-c", BARRIER, DATA_PATH)
        begin = time.monotonic_ns()
        getattr(self.moments, hand.moment)(self.client, serving, other)
        forgets, wait_s = self.inflict(hand, serving, other, what)
        self.client.end()
        if forgets:
            self.client.forget(begin)
        self.check_healed(f"{what}, healed")
        self.check_history(begin, what)
        if hand.fault in OF_DISKS:
            self.compare_copies()
        return wait_s

    def inflict(self, hand, serving, other, what):
        """From the fault until the client goes on with a pair in sync. Returns whether only what
        was synced counts then, and the longest wait."""
        forgets = forgets_acknowledged(hand.fault, hand.moment, self.lab.state(other))
        self.stopped = []
        begin = time.monotonic_ns()
        end = getattr(self.faults, hand.fault)(serving, other)
        time.sleep(self.chance.uniform(0.1, 3.0))
        self.check_while_it_lasts(serving, what)
        end()
        self.wait_healed()
        healed = time.monotonic_ns()
        self.client.wait_for_answer(healed)
        wait_s = sessions.longest_wait_s(self.client.acknowledged(), begin, time.monotonic_ns(),
                                         self.stopped)
        return forgets, wait_s

    def wait_healed(self):
        """By itself; a copy that has failed asks to be filled again after half a minute, which a
        person can shorten."""
        end = time.monotonic() + PATIENCE_S
        while self.faults.person_helps and time.monotonic() < end:
            status = [self.lab.status(node) or {} for node in NODES]
            if {one.get("state") for one in status} == {"primary", "secondary"}:
                break
            for node, one in zip(NODES, status):
                if "copy failed" in str(one.get("reason")):
                    self.lab.gemel(node, "start", "data", check=False)
            time.sleep(PERSON_S)
        self.faults.person_helps = False
        self.lab.wait_pair()

    def end(self):
        """Whatever the last fault was: nothing hangs any more, and no client works."""
        for disk in itertools.chain.from_iterable(self.lab.disks.values()):
            disk.hang(False)
        for name in self.faults.silent:
            if self.lab[name].daemon is not None:
                self.lab[name].daemon.send_signal(signal.SIGCONT)
        if self.client is not None:
            self.client.end()

    def keep_logs(self):
        """What explains a failure, where GEMEL_KEEP says."""
        if not KEEP:
            return
        os.makedirs(KEEP, exist_ok=True)
        for name in (*NODES, "witness"):
            shutil.copy(self.lab[name].daemon_log, os.path.join(KEEP, f"{name}.log"))
        for client in self.clients.values():
            for file in (client.log, client.output):
                if file.exists():
                    shutil.copy(file, KEEP)


class FaultsTest(unittest.TestCase):
    def test_the_matrix(self):
        print(f"GEMEL_SEED={SEED} GEMEL_ROUNDS={ROUNDS}", flush=True)
        deck = Deck(random.Random(SEED), chosen("GEMEL_FAULT", FAULTS),
                    chosen("GEMEL_MOMENT", MOMENTS), chosen("GEMEL_CLIENT", playable()))
        self.addCleanup(lambda: print(deck.table(), flush=True))
        with MatrixLab(default_binaries()) as lab, lab.explained():
            rounds = Rounds(lab, random.Random(SEED + 1))
            lab.start()
            try:
                for number in range(ROUNDS):
                    hand, begin = deck.deal(), time.monotonic()
                    wait_s = rounds.play(number, hand)
                    deck.note_wait(hand, wait_s)
                    print(f"  {time.monotonic() - begin:.1f} s, the longest wait {wait_s:.2f} s",
                          flush=True)
                rounds.end()
                rounds.compare_copies()
            except BaseException:
                rounds.keep_logs()
                raise
            finally:
                rounds.end()


class ForgettingTest(unittest.TestCase):
    """The power cuts would show nothing if these disks kept everything."""

    def test_a_power_cut_forgets_what_was_not_synced(self):
        with MatrixLab(default_binaries()) as lab:
            for name in (*NODES, "witness"):
                boot = lab[name].inside("cat", "/proc/sys/kernel/random/boot_id").stdout
                for disk in lab.disks[name]:
                    lab[name].inside("sh", "-c", f"cd {disk.place} && echo kept >synced && "
                                     "sync synced . && echo lost >unsynced && "
                                     "echo gone >>synced")
                lab.cut_power(name)
                lab.restore_power(name)
                for disk in lab.disks[name]:
                    found = lab[name].inside("sh", "-c", f"cd {disk.place} && cat synced; "
                                             "cat unsynced || true").stdout
                    self.assertTrue(found.startswith("kept\n"), found)
                    self.assertNotIn("lost", found)
                    self.assertNotIn("gone", found)
                self.assertNotEqual(
                    lab[name].inside("cat", "/proc/sys/kernel/random/boot_id").stdout, boot)

    def test_what_was_not_synced_is_missed_when_both_nodes_lose_power(self):
        class Demanding(Recorder):
            def forget(self, since):
                """Wants all that was acknowledged."""

        hands = [Hand("cut_power_of_both", "write", Recorder.NAME)] * 3
        with MatrixLab(default_binaries()) as lab:
            rounds = Rounds(lab, random.Random(1))
            rounds.clients[Recorder.NAME] = Demanding(lab)
            lab.start()
            try:
                with self.assertRaises(BrokenPromise) as missed:
                    for number, hand in enumerate(hands):
                        rounds.play(number, hand)
            finally:
                rounds.end()
            self.assertRegex(str(missed.exception), r"w \d+: -?\d+ instead of")
            self.assertNotIn("appended records", str(missed.exception))


if __name__ == "__main__":
    unittest.main(verbosity=2)
