#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-sim itself: a good engine passes and the report says what was done; a broken one is found,
the seed repeats what was found, and fewer of its faults show it too; wrong use is told."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

GEMEL_SIM = pathlib.Path(os.environ["GEMEL_BIN"]) / "gemel-sim"
BROKEN = ("--mutant", "skip-marking")
FOUND = re.compile(r"FOUND: gemel-sim --campaign (\S+) --seed (\d+): (.+)")


def gemel_sim(*arguments):
    return subprocess.run([GEMEL_SIM, "--quiet", *arguments], capture_output=True, text=True,
                          check=False)


class GemelSimTest(unittest.TestCase):
    def test_reports_what_was_done(self):
        with tempfile.TemporaryDirectory() as place:
            file = pathlib.Path(place) / "report.json"
            result = gemel_sim("--seeds", "50", "--jobs", "3", "--json", str(file))
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertIn("nothing found", result.stdout)
            report = json.loads(file.read_text())
        # The regressions come on top.
        self.assertGreaterEqual(report["seeds"], 50)
        self.assertGreater(report["simulated_hours"], 0.1)
        self.assertGreater(report["faults"]["power cut"], 0)
        self.assertGreater(report["pairs"]["at_once"], 0)
        self.assertGreater(sum(report["probes"].values()), 0)
        self.assertEqual(report["findings"], [])
        every = {line.split()[0] for line in gemel_sim("--list").stdout.splitlines()}
        self.assertEqual(set(report["campaigns"]), every)

    def test_finds_repeats_and_shrinks(self):
        series = gemel_sim(*BROKEN, "--campaign", "single-faults", "--seeds", "100")
        self.assertEqual(series.returncode, 1, series.stdout)
        found = FOUND.search(series.stdout)
        self.assertIsNotNone(found, series.stdout)
        campaign, seed, failure = found.groups()
        once = gemel_sim(*BROKEN, "--campaign", campaign, "--seed", seed)
        self.assertEqual(once.returncode, 1, once.stdout)
        self.assertIn(f"FOUND: {failure}", once.stdout)
        self.assertIn("twice the same", once.stdout)
        smaller = gemel_sim(*BROKEN, "--campaign", campaign, "--seed", seed, "--shrink")
        self.assertEqual(smaller.returncode, 1, smaller.stdout)
        faults = [re.search(r"^faults: (.*)$", text, re.MULTILINE).group(1).count("(")
                  for text in (once.stdout, smaller.stdout)]
        self.assertGreater(faults[1], 0)
        self.assertLessEqual(faults[1], faults[0])

    def test_tells_wrong_use(self):
        for arguments, told in ((("--campaign", "nothing"), "no campaign 'nothing'"),
                                (("--mutant", "nothing"), "no broken engine 'nothing'"),
                                (("--seed", "3"), "--campaign")):
            result = gemel_sim(*arguments)
            self.assertEqual(result.returncode, 2)
            self.assertIn(told, result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
