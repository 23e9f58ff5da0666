#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changes made behind the mount, on either node and while gemeld is away: both copies are the same
again, and people are told who it was."""

import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402


class ForeignTest(unittest.TestCase):
    def make_lab(self, policy):
        lab = Lab(default_binaries(), mirror=f'foreign-writes = "{policy}"')
        self.addCleanup(lab.close)
        return lab

    def differences(self, lab):
        return compare(lab["alpha"].bare, lab["beta"].bare)

    def wait_equal(self, lab):
        """A pair again, with equal copies."""
        lab.wait_for(lambda: {lab.state("alpha"), lab.state("beta")} == {"primary", "secondary"}
                     and not self.differences(lab), 60, lambda: self.differences(lab)[:20])

    def events(self, lab, node):
        return lab.gemel(node, "events").stdout

    def fill(self, lab, node):
        script = ("for i in 1 2 3 4 5 6 7 8; do head -c 300000 /dev/urandom >f$i; done; "
                  "mkdir d; echo x >d/x; sync .")
        lab[node].inside("sh", "-c", f"cd {DATA_PATH}; {script}")

    def change(self, bare):
        """What a person could do in a hurry."""
        with open(bare / "f1", "r+b") as file:
            file.seek(100_000)
            file.write(b"changed behind the mount")
        (bare / "new").write_text("made behind the mount\n", encoding="utf-8")
        (bare / "f2").unlink()
        os.chmod(bare / "f3", 0o600)
        os.rename(bare / "f4", bare / "d" / "moved")
        os.truncate(bare / "f5", 1000)

    def test_on_the_serving_node_they_go_to_the_other(self):
        lab = self.make_lab("ship")
        with lab.explained():
            lab.start()
            serving, _ = lab.wait_pair()
            self.fill(lab, serving)
            self.change(lab[serving].bare)
            lab.wait_for(lambda: "without the mirror" in self.events(lab, serving), 30,
                         lambda: "no event")
            self.wait_equal(lab)
            self.assertTrue((lab[serving].bare / "new").exists())
            self.assertIn("'python3' (process", self.events(lab, serving))
            self.assertIn(DATA_PATH, self.events(lab, serving))

    def test_on_the_other_node_they_are_undone(self):
        lab = self.make_lab("ship")
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.fill(lab, serving)
            self.wait_equal(lab)
            self.change(lab[other].bare)
            lab.wait_for(lambda: "without the mirror" in self.events(lab, other), 30,
                         lambda: "no event")
            self.wait_equal(lab)
            self.assertEqual(lab.state(serving), "primary")
            self.assertFalse((lab[other].bare / "new").exists())

    def test_what_happens_while_gemeld_is_away_is_known_afterwards(self):
        lab = self.make_lab("ship")
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.fill(lab, serving)
            self.wait_equal(lab)
            lab[other].kill_daemon()
            lab.wait_state(serving, "alone")
            lab[serving].kill_daemon()
            self.change(lab[serving].bare)
            with open(lab[other].bare / "f8", "r+b") as file:
                file.write(b"changed on the other node")
            lab.start(serving)
            lab.wait_state(serving, "alone")
            lab.start(other)
            self.assertEqual(lab.wait_pair(), (serving, other))
            self.wait_equal(lab)
            self.assertTrue((lab[serving].bare / "new").exists())
            # Exactly that was compared: there was no reason to look at everything.
            for node in (serving, other):
                self.assertIn("without the mirror", self.events(lab, node))
                self.assertNotIn("everything in it is compared", self.events(lab, node))

    def test_a_node_may_refuse_to_go_on(self):
        lab = self.make_lab("refuse")
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.fill(lab, serving)
            self.change(lab[other].bare)
            lab.wait_state(other, "stopped")
            lab.wait_state(serving, "alone")


if __name__ == "__main__":
    unittest.main(verbosity=2)
