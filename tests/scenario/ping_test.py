#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two real nodes whose arbiter is a ping of a third machine: a node goes on without its peer only
if that machine answers, and never by what it knew before the peer may have gone on. In a cut
between the nodes both go on, and what was written apart is not merged."""

import pathlib
import signal
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, NODES, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402

PATIENCE_S = 60
TARGET = "10.77.0.20"
# Twice detection and 3 s (ping_vote.hpp), and some more.
CHANCE_S = 7


class PingTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), arbiter="ping")
        self.addCleanup(self.lab.close)
        self.lab.start(*NODES)
        self.pair()

    def pair(self):
        """The serving node and the other one, which have asked each other about the register."""
        self.serving, self.other = self.lab.wait_pair()
        time.sleep(3)   # they ask once a second or so
        return self.serving, self.other

    def write(self, node, name, text):
        self.lab[node].inside("sh", "-c", f"echo {text} >{DATA_PATH}/{name}")

    def read(self, node, name):
        return self.lab[node].inside("cat", f"{DATA_PATH}/{name}").stdout.strip()

    def wait_reason(self, node, *parts):
        self.lab.wait_for(lambda: all(part in (self.lab.status(node) or {}).get("reason", "")
                                      for part in parts), PATIENCE_S,
                          lambda: f"{parts} as the reason of {self.lab.status(node)}")

    def set_target(self, state):
        self.lab["client"].inside("ip", "link", "set", "net0", state)

    def test_goes_on_if_the_address_answers(self):
        self.serving_node_is_killed()
        self.serving_node_is_paused()
        self.serving_node_is_cut_off()

    def serving_node_is_killed(self):
        self.write(self.serving, "file", "kept")
        self.lab[self.serving].kill_daemon()
        self.lab.wait_state(self.other, "alone")
        self.wait_reason(self.other, f"decided by a ping of {TARGET}", "may serve, too")
        self.assertEqual(self.read(self.other, "file"), "kept")
        self.write(self.other, "after", "more")
        self.lab.start(self.serving)
        self.assertEqual(self.lab.wait_pair(), (self.other, self.serving))
        self.assertEqual(self.read(self.serving, "after"), "more")

    def test_waits_if_the_address_does_not_answer(self):
        self.set_target("down")
        self.lab[self.serving].kill_daemon()
        self.wait_reason(self.other, f"{TARGET} does not answer pings")
        time.sleep(CHANCE_S)
        # Too late: the peer may have gone on meanwhile.
        self.set_target("up")
        self.wait_reason(self.other, "was lost some time ago and may have gone on alone")
        self.assertEqual(self.lab.state(self.other), "wait")
        self.lab.start(self.serving)
        self.pair()
        self.an_old_register_is_not_gone_by()

    def serving_node_is_cut_off(self):
        self.pair()
        self.write(self.serving, "file", "both")
        self.lab.isolate(self.serving)
        self.lab.wait_state(self.other, "alone")
        self.write(self.other, "file", "alone")
        self.wait_reason(self.serving, "acknowledges nothing", f"{TARGET} does not answer pings")
        self.lab.rejoin(self.serving)
        self.assertEqual(self.lab.wait_pair(), (self.other, self.serving))
        self.assertEqual(self.read(self.serving, "file"), "alone")

    def serving_node_is_paused(self):
        self.pair()
        begun = self.lab.gemel(self.serving, "events").stdout.count("alone: ")
        self.lab[self.serving].daemon.send_signal(signal.SIGSTOP)
        self.lab.wait_state(self.other, "alone")
        self.write(self.other, "file", "alone")
        self.lab[self.serving].daemon.send_signal(signal.SIGCONT)
        self.assertEqual(self.lab.wait_pair(), (self.other, self.serving))
        self.assertEqual(self.read(self.serving, "file"), "alone")
        events = self.lab.gemel(self.serving, "events").stdout
        self.assertEqual(events.count("alone: "), begun, events)

    def an_old_register_is_not_gone_by(self):
        """The one that was away knows nothing of what the other one wrote alone."""
        self.lab[self.other].kill_daemon()
        self.lab.wait_state(self.serving, "alone")
        self.write(self.serving, "file", "alone")
        self.lab[self.serving].kill_daemon()
        self.lab.start(self.other)
        self.wait_reason(self.other, f"{self.serving} may have gone on alone before")
        time.sleep(2)
        self.assertEqual(self.lab.state(self.other), "wait")
        self.lab.start(self.serving)
        self.assertEqual(self.lab.wait_pair(), (self.serving, self.other))
        self.assertEqual(self.read(self.other, "file"), "alone")

    def test_in_a_cut_between_them_both_serve_and_a_person_chooses(self):
        self.write("alpha", "common", "both")
        self.lab.cut("alpha", "beta")
        self.lab.cut("beta", "alpha")
        for node in NODES:
            self.lab.wait_state(node, "alone")
            self.write(node, "common", node)
            self.lab[node].inside("mkdir", f"{DATA_PATH}/only-{node}")
            self.write(node, f"only-{node}/file", node)
        epochs = [self.lab.status(node)["epoch"] for node in NODES]
        self.assertEqual([epoch % 2 for epoch in epochs], [0, 1])
        self.lab.heal("alpha", "beta")

        def serving():
            states = {node: self.lab.state(node) for node in NODES}
            return [n for n in NODES if states[n] == "alone"] if "wait" in states.values() else []
        self.lab.wait_for(lambda: len(serving()) == 1, PATIENCE_S, lambda: "one that has stopped")
        kept, = serving()
        given_up = NODES[1 - NODES.index(kept)]
        for node in NODES:
            self.wait_reason(node, "both copies were written apart", "gemel resync data --full")
        self.assertEqual(self.read(kept, "common"), kept)
        self.assertEqual((self.lab[given_up].bare / "common").read_text().strip(), given_up)
        self.lab.gemel(given_up, "resync", "data", "--full")
        self.assertEqual(self.lab.wait_pair(), (kept, given_up))
        self.assertEqual(self.read(given_up, "common"), kept)
        self.assertEqual(compare(self.lab["alpha"].bare, self.lab["beta"].bare)[:20], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
