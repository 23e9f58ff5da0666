#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the matrix judges by, without a mirror: histories that are wrong have to be found out, and
each client's check has to miss what was logged and never done."""

import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))
from deck import Deck, Hand  # noqa: E402
from sessions import Acknowledged, find_overlap, find_repeated, longest_wait_s  # noqa: E402

PROGRAMS = {"recorder.py": ("awfmxd", "wm"), "matrix/bank.py": ("write", "names"),
            "matrix/sqlite_rows.py": ("write", "names")}
PATIENCE_S = 30


def history(*entries):
    """(session, begun, answered)"""
    return [Acknowledged("x", number, *entry) for number, entry in enumerate(entries)]


class JudgementTest(unittest.TestCase):
    def test_one_server_after_the_other_is_right(self):
        self.assertIsNone(find_overlap(history(("a.1", 0, 1), ("a.1", 2, 5), ("b.1", 4, 6),
                                               ("b.1", 7, 8), ("a.2", 9, 10), ("a.2", 11, 12))))

    def test_what_was_under_way_at_a_takeover_may_be_answered_late(self):
        self.assertIsNone(find_overlap(history(("a.1", 0, 1), ("b.1", 2, 4), ("a.1", 3, 9))))

    def test_an_older_server_that_acknowledges_is_found(self):
        self.assertIn("at once", find_overlap(
            history(("a.1", 0, 1), ("b.1", 2, 3), ("b.1", 4, 5), ("a.1", 6, 7))))

    def test_a_number_acknowledged_twice_is_found(self):
        entry = Acknowledged("x", 7, "a.1", 0, 1)
        self.assertIsNone(find_repeated([entry, entry._replace(number=8)]))
        self.assertIn("twice", find_repeated([entry, entry._replace(session="b.1")]))

    def test_waits(self):
        second = 10**9
        answers = history(("a.1", 0, second), ("a.1", 0, 2 * second), ("b.1", 0, 6 * second))
        self.assertEqual(longest_wait_s(answers, 0, 7 * second), 4)
        stopped = [(3 * second, 4 * second)]
        self.assertEqual(longest_wait_s(answers, 0, 7 * second, stopped), 1)


class DeckTest(unittest.TestCase):
    def test_every_combination_comes_once_before_any_comes_again(self):
        deck = Deck(random.Random(1), "fgh", "mno", "cd")
        for _ in range(3):
            hands = [deck.deal() for _ in range(18)]
            self.assertEqual(sorted(hands), sorted(Hand(f, m, c) for f in "fgh" for m in "mno"
                                                   for c in "cd"))

    def test_the_first_hands_have_something_of_everything(self):
        deck = Deck(random.Random(2), range(6), range(3), range(2))
        hands = [deck.deal() for _ in range(6)]
        self.assertEqual({hand.fault for hand in hands}, set(range(6)))
        self.assertEqual({hand.moment for hand in hands}, set(range(3)))
        self.assertEqual({hand.client for hand in hands}, {0, 1})


class ClientsTest(unittest.TestCase):
    def run_program(self, program, *arguments):
        return subprocess.run([sys.executable, "-B", str(HERE.parent / program), *arguments],
                              text=True, capture_output=True, check=False)

    def work(self, program, mode, directory, log):
        """Until a good part was acknowledged, then killed."""
        size = log.stat().st_size
        with subprocess.Popen([sys.executable, "-B", str(HERE.parent / program), "work",
                               str(directory), str(log), "here", mode]) as process:
            end = time.monotonic() + PATIENCE_S
            while log.stat().st_size < size + 2000 and time.monotonic() < end:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        self.assertGreater(log.stat().st_size, size + 1999)

    def test_each_finds_what_was_logged_and_never_done(self):
        for program, modes in PROGRAMS.items():
            with self.subTest(program), tempfile.TemporaryDirectory() as place:
                directory, log = pathlib.Path(place, "volume"), pathlib.Path(place, "log")
                log.touch()
                for mode in modes:
                    self.work(program, mode, directory, log)
                    good = self.run_program(program, "check", str(directory), str(log))
                    self.assertEqual(good.returncode, 0, good.stdout + good.stderr)
                last = log.read_text("ascii").split("\n")[-2].split()
                with open(log, "a", encoding="ascii") as lies:
                    lies.write(" ".join([last[0], str(int(last[1]) + 6400), *last[2:]]) + "\n")
                bad = self.run_program(program, "check", str(directory), str(log))
                self.assertEqual(bad.returncode, 1, bad.stdout + bad.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
