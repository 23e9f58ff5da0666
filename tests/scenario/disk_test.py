#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that fill up or fail below the mirrored directory, on the node that serves and on the other
one: small ext4 images on loop devices. Full or failing on the secondary: it leaves the in-sync set,
says why, and the application sees nothing. Full on the serving node: the application gets ENOSPC,
and both copies are equal. Failing there: the other takes over with everything that was
acknowledged, and the failed copy is a source for nobody until it was filled again."""

import unittest

from disk_lab import PATIENCE_S, Disk, DiskLabTest, DATA_PATH

STATE_MIB = 16


class DiskTest(DiskLabTest):
    def write_file(self, node, name, mib, check=True):
        return self.lab[node].inside("dd", "if=/dev/urandom", f"of={DATA_PATH}/{name}", "bs=64K",
                                     f"count={mib * 16}", "conv=fsync", "status=none", check=check)

    def make_many(self, node, check=True):
        """Files in a directory of their own."""
        return self.lab[node].inside("sh", "-c", f"cd {DATA_PATH} && mkdir -p many && "
                                     "for i in $(seq 2000); do echo $i >many/$i || exit; done",
                                     check=check)

    def assert_left(self, node, *why):
        """`node` is in the set no more, both say why, and the other serves alone."""
        other = "beta" if node == "alpha" else "alpha"
        self.lab.wait_state(other, "alone")
        self.assertEqual(self.lab.status(other)["in_sync"], [other])
        self.wait_reason(node, "this node's copy failed", *why)
        for part in why:
            self.wait_reason(other, f"{node}'s copy failed", part)
            for witness in (node, other):
                self.assertIn(part, self.lab.gemel(witness, "events").stdout)

    # --- Full ---------------------------------------------------------------------------------

    def test_full_on_the_secondary(self):
        with self.lab.explained():
            writer = self.begin()
            self.disks["beta"].fill()
            self.write_file("alpha", "large", 16)
            self.assert_left("beta", "No space left on device")
            self.wait_for_records()
            self.disks["beta"].free()
            self.lab.wait_state("beta", "secondary", timeout=PATIENCE_S)
            self.wait_for_records()
            self.assertIsNone(writer.poll(), "the application has noticed")
            self.finish()

    def test_full_on_the_serving_node(self):
        with self.lab.explained():
            self.lab.start()
            self.lab.wait_pair()
            epoch = self.lab.status("alpha")["epoch"]
            self.disks["alpha"].fill()
            for attempt in ("one", "two"):
                refused = self.write_file("alpha", attempt, 16, check=False)
                self.assertIn("No space left on device", refused.stderr)
            self.make_many("alpha", check=False)
            grow = f"cd {DATA_PATH} && truncate -s 1G sparse && fallocate -l 64M preallocated"
            self.assertNotEqual(
                self.lab["alpha"].inside("sh", "-c", grow, check=False).returncode, 0)
            self.assert_equal_copies()
            self.disks["alpha"].free()
            self.write_on("alpha")
            self.write_file("alpha", "one", 8)
            self.assertEqual(self.lab.status("alpha")["epoch"], epoch, "a failover")
            self.finish()

    def put_state_on_a_disk(self, node):
        machine = self.lab[node]
        machine.state.mkdir()
        self.disks["state"] = Disk(machine, str(machine.state), STATE_MIB)
        return self.disks["state"]

    def test_full_state_directory_of_the_secondary(self):
        state = self.put_state_on_a_disk("beta")
        with self.lab.explained():
            writer = self.begin()
            state.fill(0)
            self.make_many("alpha")
            self.assert_left("beta", "No space left on device")
            state.free()
            self.lab.gemel("beta", "start", "data")   # it would try again by itself after a while
            self.lab.wait_state("beta", "secondary", timeout=PATIENCE_S)
            self.assertIsNone(writer.poll(), "the application has noticed")
            self.finish()

    def test_full_state_directory_of_the_serving_node(self):
        state = self.put_state_on_a_disk("alpha")
        with self.lab.explained():
            self.lab.start()
            self.lab.wait_pair()
            state.fill(0)
            # Files can't be given ids any more, and that is all.
            self.assertIn("No space left on device", self.make_many("alpha", check=False).stderr)
            self.assert_equal_copies()
            state.free()
            self.make_many("alpha")
            self.write_on("alpha")
            self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
            self.finish()

    # --- Failing ------------------------------------------------------------------------------

    def fail_on_the_secondary(self, fail, *why):
        with self.lab.explained():
            writer = self.begin()
            fail(self.disks["beta"])
            self.assert_left("beta", *why)
            self.wait_for_records()
            self.assertIsNone(writer.poll(), "the application has noticed")
            self.lab["beta"].kill_daemon()
            self.disks["beta"].replace()
            self.lab.start("beta")
            self.lab.wait_state("beta", "secondary", timeout=PATIENCE_S)
            self.assertIsNone(writer.poll(), "the application has noticed")
            self.finish()

    def test_shut_down_on_the_secondary(self):
        self.fail_on_the_secondary(Disk.shut_down, "Input/output error")

    def test_read_only_on_the_secondary(self):
        self.fail_on_the_secondary(Disk.make_read_only)

    def fail_on_the_serving_node(self, fail, *why):
        with self.lab.explained():
            writer = self.begin()
            fail(self.disks["alpha"])
            self.assert_left("alpha", *why)
            writer.wait()
            self.check_on("beta")
            self.write_on("beta")
            # Whatever happens to the other: this copy is a source for nobody.
            self.end_writers()
            self.lab["beta"].kill_daemon()
            self.lab["alpha"].kill_daemon()
            self.disks["alpha"].replace()
            self.lab.start("alpha")
            self.wait_reason("alpha", "waits for beta")
            self.lab.start("beta")
            self.assertEqual(self.lab.wait_pair(PATIENCE_S), ("beta", "alpha"))
            self.finish()

    def test_shut_down_on_the_serving_node(self):
        self.fail_on_the_serving_node(Disk.shut_down, "Input/output error")

    def test_read_only_on_the_serving_node(self):
        self.fail_on_the_serving_node(Disk.make_read_only)


if __name__ == "__main__":
    unittest.main(verbosity=2)
