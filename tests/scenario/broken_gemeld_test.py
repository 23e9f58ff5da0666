#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rounds of faults_test.py against engines that are broken on purpose: each must be noticed
within the rounds given here. Standing still is no proof; a promise has to be broken."""

import os
import pathlib
import random
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE / "matrix"))
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from deck import Hand  # noqa: E402
from faults_test import BrokenPromise, Rounds  # noqa: E402
from lab import default_binaries  # noqa: E402
from machines import MatrixLab  # noqa: E402


class BrokenGemeldTest(unittest.TestCase):
    def assert_caught(self, mutant, *hands):
        """Plays these hands in turn, comparing the copies at the end."""
        os.environ["GEMEL_MUTANT"] = mutant
        self.addCleanup(os.environ.pop, "GEMEL_MUTANT")
        with MatrixLab(default_binaries()) as lab:
            lab.gemeld = lab.binaries / "gemeld_broken"
            rounds = Rounds(lab, random.Random(1))
            lab.start()
            try:
                for number, hand in enumerate(hands):
                    rounds.play(number, hand)
                rounds.end()
                rounds.compare_copies()
            except BrokenPromise as noticed:
                print(f"{mutant}: {noticed}", flush=True)
                return
            finally:
                rounds.end()
        self.fail(f"{len(hands)} rounds did not notice {mutant}")

    def test_acknowledging_before_shipping_is_caught(self):
        # No fsync between them, or the sync would bring them to the peer.
        self.assert_caught("acknowledge_early", *[Hand("kill_serving", "names", "recorder")] * 6)

    def test_forgotten_intents_are_caught(self):
        self.assert_caught("forget_intents", *[Hand("kill_serving", "resync", "recorder")] * 3)

    def test_without_a_fault_in_it_the_same_program_is_not(self):
        with self.assertRaisesRegex(AssertionError, "did not notice"):
            self.assert_caught("none", Hand("kill_serving", "resync", "recorder"),
                               Hand("kill_serving", "write", "recorder"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
