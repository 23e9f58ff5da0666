#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a person does to a mirror: both sides promoted by force apart from each other and brought
together again, release and what follows, stop and start, and a node that is restarted over and over
while it is alone."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402

PATIENCE_S = 60


class PersonTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), mirror='sync-interval = "100ms"')
        self.addCleanup(self.lab.close)

    def write(self, node, name, text):
        self.lab[node].inside("sh", "-c", f"echo {text} >{DATA_PATH}/{name}")

    def read(self, node, name):
        return self.lab[node].inside("cat", f"{DATA_PATH}/{name}").stdout

    def assert_equal_copies(self):
        differences = compare(self.lab["alpha"].bare, self.lab["beta"].bare)
        self.assertEqual(differences[:20], [])

    def wait_reason(self, node, *parts):
        self.lab.wait_for(lambda: all(part in (self.lab.status(node) or {}).get("reason", "")
                                      for part in parts), PATIENCE_S,
                          lambda: f"{parts} as the reason of {self.lab.status(node)}")

    # --- Apart --------------------------------------------------------------------------------

    def promote_both_apart(self):
        """Leaves two nodes that were both served from, neither of which knows of the other."""
        self.lab.start()
        self.lab.wait_pair()
        self.write("alpha", "common", "both")
        self.lab["witness"].kill_daemon()
        self.lab.isolate("alpha")
        for node in ("alpha", "beta"):
            self.lab.wait_state(node, "wait")
            self.lab.gemel(node, "promote", "data", "--force")
            self.lab.wait_state(node, "alone")
            self.write(node, "common", node)
            self.write(node, f"only-{node}", node)
            self.lab[node].inside("sh", "-c", f"mkdir {DATA_PATH}/tree && "
                                  f"cp -r /usr/include/linux/netfilter {DATA_PATH}/tree/{node}")

    def serving(self):
        states = {node: self.lab.state(node) for node in ("alpha", "beta")}
        serving = [node for node, state in states.items() if state == "alone"]
        return serving[0] if len(serving) == 1 and "wait" in states.values() else None

    def test_both_promoted_apart(self):
        with self.lab.explained():
            self.promote_both_apart()
            self.lab.start("witness")
            self.lab.rejoin("alpha")
            # The register names one of them; the other steps back and waits for a person.
            self.lab.wait_for(self.serving, PATIENCE_S, lambda: "two serve, or none")
            recorded = self.serving()
            other = "beta" if recorded == "alpha" else "alpha"
            sentence = ("both copies were written apart from each other",
                        "gemel promote data --force", "gemel resync data --full",
                        f"{recorded} serves its own copy", f"{other} keeps its own")
            for node in (recorded, other):
                self.wait_reason(node, *sentence)
            self.assertFalse((self.lab[recorded].bare / f"only-{other}").exists())
            self.assertTrue((self.lab[other].bare / f"only-{other}").exists())

            # A person chooses the one that does not serve.
            self.lab.gemel(other, "promote", "data", "--force")
            self.lab.wait_state(other, "alone")
            self.lab.wait_state(recorded, "wait")
            self.wait_reason(other, f"{other} serves its own copy")
            self.wait_reason(recorded, f"{other} serves its own copy")
            self.assertTrue((self.lab[recorded].bare / f"only-{recorded}").exists())
            self.lab.gemel(recorded, "resync", "data", "--full")
            # The choice holds, even when the resync is interrupted.
            self.lab.wait_state(recorded, "resync", "secondary")
            self.lab[recorded].kill_daemon()
            self.lab.start(recorded)
            self.assertEqual(self.lab.wait_pair(), (other, recorded))
            self.assert_equal_copies()
            self.assertEqual(self.read(recorded, "common"), f"{other}\n")
            self.assertFalse((self.lab[recorded].bare / f"only-{recorded}").exists())

    def test_many_restarts_alone_are_no_divergence(self):
        with self.lab.explained():
            self.lab.start()
            self.lab.wait_pair()
            self.lab["beta"].kill_daemon()
            for number in range(20):
                self.lab.wait_state("alpha", "alone")
                self.write("alpha", "number", number)
                self.lab["alpha"].kill_daemon()
                self.lab.start("alpha")
            self.lab.start("beta")
            self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
            self.assertEqual(self.read("beta", "number"), "19\n")

    # --- Stop, start, release -----------------------------------------------------------------

    def assert_covered(self, node):
        self.assertEqual(self.lab[node].inside("ls", DATA_PATH).stdout, "")

    def test_stop_and_start(self):
        with self.lab.explained():
            self.lab.start()
            self.lab.wait_pair()
            self.write("alpha", "one", "1")
            self.lab.gemel("beta", "stop", "data")
            self.lab.wait_state("alpha", "alone")
            self.assert_covered("beta")
            self.write("alpha", "two", "2")
            self.lab.gemel("beta", "start", "data")
            self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
            # The serving node hands over before it leaves.
            self.lab.gemel("alpha", "stop", "data")
            self.lab.wait_state("beta", "alone")
            self.assert_covered("alpha")
            self.assertEqual(self.read("beta", "two"), "2\n")
            self.write("beta", "three", "3")
            self.lab.gemel("alpha", "start", "data")
            self.assertEqual(self.lab.wait_pair(), ("beta", "alpha"))
            # Both leave; each waits for whoever holds the newest data.
            self.lab.gemel("alpha", "stop", "data")
            self.lab.wait_state("beta", "alone")
            self.write("beta", "four", "4")
            self.lab.gemel("beta", "stop", "data")
            self.lab.gemel("alpha", "start", "data")
            self.wait_reason("alpha", "waits for beta")
            self.lab.gemel("beta", "start", "data")
            self.assertEqual(self.lab.wait_pair(), ("beta", "alpha"))
            self.assertEqual(self.read("alpha", "four"), "4\n")
            self.assert_equal_copies()

    def change_bare(self, node):
        """By hand and unseen: content in place with the old time, a name away, a name more."""
        self.lab.gemel(node, "release", "data")
        path = f"{DATA_PATH}/changed"
        self.lab[node].inside("sh", "-c", f"cd {DATA_PATH} && touch -r changed /tmp/$$ && "
                              f"echo {node} >>changed && touch -r /tmp/$$ changed && rm /tmp/$$ && "
                              "rm removed && mkdir -p more/and && echo x >more/and/more")
        self.assertIn(node, self.lab[node].inside("cat", path).stdout)

    def make_things(self):
        self.lab.start()
        self.lab.wait_pair()
        self.write("alpha", "changed", "first")
        self.write("alpha", "removed", "x")
        # Intents go when nothing has happened there for 30 syncs; while they are there, the change
        # would be found by them.
        self.lab["alpha"].inside("sh", "-c", f"for i in $(seq 80); do echo $i >{DATA_PATH}/busy; "
                                 "sleep 0.1; done")

    def test_released_target_is_compared(self):
        with self.lab.explained():
            self.make_things()
            self.lab.gemel("beta", "stop", "data")
            self.change_bare("beta")
            self.lab["beta"].kill_daemon()
            self.lab.start("beta")
            self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
            self.assert_equal_copies()
            self.assertEqual(self.read("beta", "changed"), "first\n")

    def test_released_source_is_compared(self):
        with self.lab.explained():
            self.make_things()
            self.lab.gemel("alpha", "stop", "data")
            self.lab.wait_state("beta", "alone")
            self.lab.gemel("beta", "stop", "data")
            self.change_bare("beta")
            for node in ("beta", "alpha"):
                self.lab.gemel(node, "start", "data")
            self.assertEqual(self.lab.wait_pair(), ("beta", "alpha"))
            self.assert_equal_copies()
            self.assertEqual(self.read("alpha", "changed"), "first\nbeta\n")
            self.assertEqual(self.read("alpha", "more/and/more"), "x\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
