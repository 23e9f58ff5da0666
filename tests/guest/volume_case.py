# SPDX-License-Identifier: Apache-2.0
"""What the tests of guests share: two nodes and a witness with one block volume, `disk0`, and a
folder for what a guest consists of."""

import pathlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
import guest  # noqa: E402
from lab import NODES, Lab, default_binaries  # noqa: E402

MIB = 1 << 20
SIZE = 96 * MIB
BLOCK = f"""
[[mirror.data.block]]
name = "disk0"
backing = "/mnt/disks/disk0.img"
size = "{SIZE // MIB}MiB"
"""
RECORDS = 25                # that records.sh makes in a phase of a test, at least


@unittest.skipIf(guest.missing(), guest.missing())
class VolumeCase(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), mirror=BLOCK)
        self.addCleanup(self.lab.close)
        for node in NODES:
            (self.lab[node].root / "mnt" / "disks").mkdir()
        folder = tempfile.TemporaryDirectory(prefix="gemel-guest-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.synced = 0         # the last record that has to survive

    def socket(self, node):
        return self.lab[node].run_directory / "nbd" / "data" / "disk0.sock"

    def image(self, node):
        """What the node's copy holds."""
        return (self.lab[node].root / "mnt" / "disks" / "disk0.img").read_bytes()

    def assert_equal_copies(self):
        self.assertTrue(self.image(NODES[0]) == self.image(NODES[1]), "the copies differ")
