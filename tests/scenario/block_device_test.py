#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Block devices as backing, with the real programs: loop devices, one with sectors of 512 bytes and
one of 4096, of a size that is no multiple of 4 KiB where it may. An adopted disk keeps its content;
both copies are equal byte by byte; a device in use, or exchanged, is refused with a sentence."""

import hashlib
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import NODES, Lab, default_binaries, run  # noqa: E402

PATIENCE_S = 40
SIZE = 8 << 20              # of the volume
SECTOR = {"alpha": 512, "beta": 4096}
BLOCK = """
[[mirror.data.block]]
name = "disk0"
backing = "/mnt/disks/disk0"
size = "8MiB"
"""


class BlockDeviceTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), mirror=BLOCK)
        self.addCleanup(self.lab.close)
        self.devices = {}
        for node in NODES:
            # Devices are seldom of one size.
            self.devices[node] = self.attach(node, "disk0", SIZE + (65536 if node == "beta" else 0))

    def attach(self, node, name, size):
        """A loop device, reachable on the node by a link as udev would make it."""
        image = self.lab[node].root / f"{name}.img"
        run("truncate", "-s", str(size), str(image))
        device = run("losetup", "--find", "--show", "-b", str(SECTOR[node]),
                     str(image)).stdout.strip()
        self.addCleanup(run, "losetup", "--detach", device, check=False)
        self.lead(node, device)
        return device

    def lead(self, node, device):
        disks = self.lab[node].root / "mnt" / "disks"
        disks.mkdir(exist_ok=True)
        link = disks / "disk0"
        link.unlink(missing_ok=True)
        link.symlink_to(device)

    def content(self, node):
        with open(self.devices[node], "rb") as device:
            return device.read(SIZE)

    def digest(self, node):
        run("blockdev", "--flushbufs", self.devices[node])
        return hashlib.sha256(self.content(node)).hexdigest()

    def assert_equal_copies(self):
        self.assertEqual(*(self.digest(node) for node in NODES))

    def qemu_io(self, node, *commands):
        arguments = [part for command in commands for part in ("-c", command)]
        socket = self.lab[node].run_directory / "nbd" / "data" / "disk0.sock"
        done = run("timeout", str(PATIENCE_S), "qemu-io", "-f", "raw", "-t", "writethrough",
                   f"nbd+unix:///disk0?socket={socket}", *arguments, check=False)
        text = done.stdout + done.stderr
        self.assertFalse(done.returncode != 0 or "failed" in text, text + self.lab.logs())

    def refusal(self, node):
        """What gemeld says on the way out."""
        machine = self.lab[node]
        done = subprocess.run(
            [*machine.prefix(), "timeout", "20", str(self.lab.gemeld), "--config",
             str(self.lab.config), "--node", node, "--state", str(machine.state), "--run",
             str(machine.run_directory)], check=False, text=True, capture_output=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def test_an_adopted_disk_is_mirrored_and_outlives_a_node(self):
        with open(self.devices["alpha"], "r+b", buffering=0) as device:
            device.write(b"adopted!" * 512)
        self.lab.start()
        serving, other = self.lab.wait_pair()
        self.assertEqual(serving, "alpha")
        self.assertEqual(self.content("beta")[:4096], b"adopted!" * 512)
        self.qemu_io(serving, "write -P 0x11 1M 1M", "write -P 0x22 5000 3000",
                     "write -z 65536 65536", "discard 1M 65536", f"write -P 0x33 {SIZE - 700} 700",
                     "flush", f"read -P 0x33 {SIZE - 700} 700", "read -P 0 1M 65536")
        self.assert_equal_copies()
        self.lab[serving].kill_daemon()
        self.lab.wait_state(other, "alone")
        self.qemu_io(other, "read -P 0x22 5000 3000", "write -P 0x44 1000001 100",
                     f"write -z {SIZE - 5000} 5000", "read -P 0x11 1114112 65536")
        # The same attachment in the same boot: known again, and only what changed is sent.
        self.lab.start(serving)
        self.assertEqual(self.lab.wait_pair(), (other, serving))
        self.assert_equal_copies()
        self.qemu_io(other, "read -P 0x44 1000001 100")

    def test_a_device_in_use_is_refused(self):
        run("mkfs.ext4", "-q", self.devices["alpha"])
        place = self.lab["alpha"].root / "mounted"
        place.mkdir()
        run("mount", self.devices["alpha"], str(place))
        self.addCleanup(run, "umount", str(place), check=False)
        self.lab.start("witness")
        self.assertIn("the device is in use: mounted", self.refusal("alpha"))

    def test_an_exchanged_device_is_refused(self):
        self.lab.start()
        self.lab.wait_pair()
        for node in NODES:
            self.lab.gemel(node, "stop", "data")
        self.lab["alpha"].kill_daemon()
        self.attach("alpha", "other", SIZE)
        self.assertIn("it is not the device that mirror 'data' had here", self.refusal("alpha"))

    def test_a_smaller_device_is_refused(self):
        self.attach("alpha", "small", SIZE - 4096)
        self.lab.start("witness")
        self.assertIn("the device is smaller than its configured size", self.refusal("alpha"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
