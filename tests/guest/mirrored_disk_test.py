#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest whose only disk is a mirrored block volume: it is installed on it and booted from it by
the firmware, keeps writing while its node's peer is lost and comes back, loses its node, and is
booted on the survivor: with a clean file system and every record that it had called synced."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import guest  # noqa: E402
from volume_case import RECORDS, VolumeCase  # noqa: E402

PATIENCE_S = 120            # that QEMU has with a node that does not serve


class MirroredDiskTest(VolumeCase):
    def boot(self, node, options=(), **how):
        """A guest on the node, whose disk is the mirrored one, once it takes commands."""
        self.boots = getattr(self, "boots", 0) + 1
        started = guest.Guest(
            self.folder / f"console{self.boots}",
            ["-blockdev", f"driver=nbd,node-name=disk0,export=disk0,server.type=unix,"
             f"server.path={self.socket(node)},reconnect-delay={PATIENCE_S},discard=unmap",
             "-device", "virtio-blk-pci,drive=disk0,bootindex=1", *options],
            prefix=self.lab[node].prefix(), **how)
        self.addCleanup(started.close)
        return started.wait_ready()

    def install(self, node):
        system = guest.System(programs=["mke2fs", "e2fsck", "extlinux"])
        system.add("guest/records.sh", HERE / "records.sh")
        initramfs = system.initramfs(self.folder / "initramfs")
        medium = system.medium(self.folder / "medium", initramfs)
        installer = self.boot(
            node, ["-drive", f"file={medium},format=raw,if=virtio,readonly=on"],
            kernel=system.kernel, initramfs=initramfs)
        installer.run("/guest/install_guest.sh /dev/vda /dev/vdb")
        installer.power_off()
        self.assertEqual(installer.failures(), [])

    def wait_for_records(self, writer):
        """More of them, each called synced in its turn."""
        goal = self.synced + RECORDS
        while self.synced < goal:
            self.take(writer, writer.line())

    def take(self, writer, line):
        self.assertEqual(line, f"synced {self.synced + 1}", writer.tail() + self.lab.logs())
        self.synced += 1

    def lose(self, node):
        """The whole node: its program and its links."""
        self.lab.isolate(node)
        self.lab[node].kill_daemon()

    def bring_back(self, node):
        self.lab.rejoin(node)
        self.lab.start(node)

    def test_a_guest_outlives_its_nodes_peer_and_then_its_node(self):
        self.lab.start()
        serving, other = self.lab.wait_pair()
        self.install(serving)

        writer = self.boot(serving)
        self.assertEqual(writer.run("cat /run/root /run/root_check"), "/dev/vda1\nclean")
        writer.begin("/guest/records.sh write 1")
        self.wait_for_records(writer)
        self.lose(other)
        self.wait_for_records(writer)
        self.lab.wait_state(serving, "alone")
        self.wait_for_records(writer)
        self.bring_back(other)
        self.assertEqual(self.lab.wait_pair(), (serving, other))
        self.wait_for_records(writer)
        self.assertEqual(writer.failures(), [])

        self.lose(serving)
        writer.process.kill()
        while (line := writer.line()) is not None:      # said before it was killed
            self.take(writer, line)
        self.lab.wait_state(other, "alone")
        survivor = self.boot(other)
        self.assertEqual(survivor.run("cat /run/root_check"), "clean", survivor.tail())
        self.assertIn("recovery complete", survivor.run("dmesg"))
        kept = int(survivor.run(f"/guest/records.sh check {self.synced}"))
        self.assertIn(kept, (self.synced, self.synced + 1))
        self.bring_back(serving)
        self.assertEqual(self.lab.wait_pair(), (other, serving))
        survivor.run(f"/guest/records.sh check {self.synced}")
        survivor.power_off()
        self.assertEqual(survivor.failures(), [])
        self.assert_equal_copies()


if __name__ == "__main__":
    unittest.main(verbosity=2)
