#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pace of a resync with the real programs: what a dry run says beforehand crosses the link
then, a pause holds over sessions and is shown, and the rate can be changed at run time."""

import hashlib
import json
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, NODES, Lab, default_binaries  # noqa: E402

MIB = 1 << 20
PATIENCE_S = 40
OLD, CHANGED, NEW = 8 * MIB, 4 * MIB, 16 * MIB      # bytes


class PaceTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), mirror='resync-rate = "4MiB..8MiB"')
        self.addCleanup(self.lab.close)

    def write_random(self, node, name, size):
        self.lab[node].inside("dd", "if=/dev/urandom", f"of={DATA_PATH}/{name}", "bs=1M",
                              f"count={size // MIB}", "conv=notrunc")

    def sent(self, node):
        """Bytes that have left a node over the network of the data."""
        shown = self.lab[node].inside("ip", "-json", "-statistics", "link", "show", "net0")
        return json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"]

    def dry_run(self, node, *more):
        return json.loads(self.lab.gemel(node, "resync", "data", "--dry-run", "--json",
                                         *more).stdout)

    def events(self, node):
        return self.lab.gemel(node, "events").stdout

    def check_estimate(self, serving, connected):
        estimate = self.dry_run(serving)
        compare, send = estimate["compare_bytes"], estimate["send_bytes_max"]
        if connected:   # it has told what was under way there when it was killed: perhaps all
            self.assertTrue(CHANGED + NEW <= send <= OLD + NEW, send)
        else:
            self.assertEqual((compare, send), (CHANGED, CHANGED + NEW))
        self.assertEqual(estimate["peer_connected"], connected)
        self.assertFalse(estimate["volumes"][0]["full"])
        work = send + (compare if estimate["rate_from"] == "limit" else 0)
        self.assertLessEqual(estimate["rate_bytes_per_s"], 8 * MIB)
        self.assertEqual(estimate["seconds_max"], work // estimate["rate_bytes_per_s"])
        everything = self.dry_run(serving, "--full")
        self.assertTrue(everything["volumes"][0]["full"])
        self.assertGreaterEqual(everything["compare_bytes"], OLD + NEW)
        text = self.lab.gemel(serving, "resync", "data", "--dry-run").stdout
        if not connected:
            self.assertIn("4.0 MiB to compare, at most 20.0 MiB to send", text)

    def wait_for_paused_session(self, serving, other):
        self.lab.wait_state(other, "resync")
        self.lab.wait_for(lambda: self.lab.status(serving)["volumes"][0]["resync"], PATIENCE_S,
                          lambda: self.lab.status(serving))

    def test_a_dry_run_a_pause_and_another_rate(self):
        self.lab.start()
        serving, other = self.lab.wait_pair()
        refused = self.lab.gemel(serving, "resync", "data", "--pause", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("in state primary", refused.stderr)
        self.write_random(serving, "old", OLD)
        self.lab[serving].inside("sync", DATA_PATH + "/old")
        self.lab[other].kill_daemon()
        self.lab.wait_state(serving, "alone")
        self.write_random(serving, "old", CHANGED)
        self.write_random(serving, "new", NEW)
        self.check_estimate(serving, False)

        self.lab.gemel(serving, "resync", "data", "--pause")
        self.lab.start(other)
        self.wait_for_paused_session(serving, other)
        status = self.lab.status(serving)
        self.assertTrue(status["resync_pace"]["paused"])
        self.assertEqual(status["volumes"][0]["resync"]["done_bytes"], 0)
        self.assertIn("paused", self.lab.gemel(serving, "status").stdout)
        self.assertIn("paused by a person", self.events(serving))

        # Another session, and applications that go on.
        self.lab.isolate(other)
        self.lab.wait_for(lambda: not self.lab.status(serving)["peer"]["connected"], PATIENCE_S,
                          lambda: self.lab.status(serving))
        self.lab.rejoin(other)
        self.wait_for_paused_session(serving, other)
        self.lab[serving].inside("sh", "-c", f"echo meanwhile >{DATA_PATH}/small")
        status = self.lab.status(serving)
        self.assertEqual((status["state"], status["in_sync"]), ("alone", [serving]))
        self.assertEqual(status["volumes"][0]["resync"]["done_bytes"], 0)
        self.lab[serving].inside("rm", f"{DATA_PATH}/small")
        self.check_estimate(serving, True)

        self.lab.gemel(serving, "resync", "data", "--rate", "1GiB..")
        pace = self.lab.status(serving)["resync_pace"]
        self.assertEqual((pace["min_bytes_per_s"], pace["max_bytes_per_s"]), (1 << 30, None))
        before = self.sent(serving)
        self.lab.gemel(serving, "resync", "data", "--resume")
        self.lab.wait_pair()
        crossed = self.sent(serving) - before
        self.assertGreaterEqual(crossed, CHANGED + NEW)
        self.assertLess(crossed, (CHANGED + NEW) * 1.1)
        self.assertIn("resumed by a person", self.events(serving))
        for name in ("old", "new"):
            digests = {hashlib.sha256((self.lab[node].bare / name).read_bytes()).hexdigest()
                       for node in NODES}
            self.assertEqual(len(digests), 1, name)


if __name__ == "__main__":
    unittest.main()
