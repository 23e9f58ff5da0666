#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One NBD client that keeps its device through swaps back and forth, the death of the daemon that
serves it and a restart. It finds who serves by a link that is turned with the roles, as a virtual
address would be; qemu reconnects by itself. No request may fail, and what was written is there."""

import os
import pathlib
import subprocess
import sys
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import NODES, Lab, default_binaries, run  # noqa: E402

PATIENCE_S = 120
UNIT = 65536
UNITS = 512                 # of 64 KiB: 32 MiB, written round and round
BLOCK = f"""
[[mirror.data.block]]
name = "disk0"
backing = "/mnt/disks/disk0.img"
size = "{UNIT * UNITS // 1024}KiB"
"""


class Writer(threading.Thread):
    """A qemu-io that writes one unit after the other and notes what was acknowledged."""

    def __init__(self, link):
        super().__init__()
        target = (f"driver=nbd,export=disk0,reconnect-delay={PATIENCE_S},server.type=unix,"
                  f"server.path={link}")
        self.client = subprocess.Popen(
            ["qemu-io", "--image-opts", target], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.written = {}       # unit -> pattern
        self.count = 0
        self.failure = None
        self.ends = threading.Event()

    def run(self):
        while not self.ends.is_set() and self.failure is None:
            unit, pattern = self.count * 7 % UNITS, self.count % 251 + 1
            self.client.stdin.write(f"write -P {pattern} {unit * UNIT} 4096\n")
            self.client.stdin.flush()
            line = self.client.stdout.readline()
            if "wrote 4096/4096" not in line:
                self.failure = line or "the client ended"
                break
            self.client.stdout.readline()
            self.written[unit] = pattern
            self.count += 1

    def close(self):
        self.ends.set()
        self.join(PATIENCE_S)
        self.client.stdin.close()
        self.client.wait(PATIENCE_S)
        self.client.stdout.close()


class NbdFailoverTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), mirror=BLOCK)
        self.addCleanup(self.lab.close)
        for node in NODES:
            (self.lab[node].root / "mnt" / "disks").mkdir()
        self.link = self.lab.root / "disk0.sock"

    def socket(self, node):
        return self.lab[node].run_directory / "nbd" / "data" / "disk0.sock"

    def lead_to(self, node):
        turned = self.link.with_suffix(".new")
        turned.symlink_to(self.socket(node))
        os.replace(turned, self.link)

    def wait_for_writes(self, writer, more=50):
        goal = writer.count + more
        self.lab.wait_for(lambda: writer.count >= goal or writer.failure, PATIENCE_S,
                          lambda: f"{writer.count} writes, {goal} wanted")
        self.assertIsNone(writer.failure, self.lab.logs())

    def verify(self, node, written):
        """As a new client sees it."""
        commands = [word for unit, pattern in sorted(written.items())
                    for word in ("-c", f"read -P {pattern} {unit * UNIT} 4096")]
        done = run("qemu-io", "-f", "raw", f"nbd+unix:///disk0?socket={self.socket(node)}",
                   *commands, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr)
        self.assertNotIn("verification failed", done.stdout)

    def test_a_client_goes_on_through_swaps_death_and_restart(self):
        self.lab.start()
        serving, other = self.lab.wait_pair()
        self.lead_to(serving)
        writer = Writer(self.link)
        self.addCleanup(writer.close)
        writer.start()
        self.wait_for_writes(writer)
        for _ in range(2):
            self.lab.gemel(serving, "swap", "data")
            serving, other = other, serving
            self.assertEqual(self.lab.wait_pair(), (serving, other))
            self.lead_to(serving)
            self.wait_for_writes(writer)

        self.lab[serving].kill_daemon()
        self.lab.wait_state(other, "alone")
        self.lead_to(other)
        self.wait_for_writes(writer)
        self.lab.start(serving)
        serving, other = other, serving
        self.assertEqual(self.lab.wait_pair(), (serving, other))
        self.wait_for_writes(writer)

        writer.close()
        self.assertIsNone(writer.failure)
        self.verify(serving, writer.written)
        images = [(self.lab[node].root / "mnt" / "disks" / "disk0.img").read_bytes()
                  for node in NODES]
        self.assertTrue(images[0] == images[1], "the copies differ")


if __name__ == "__main__":
    unittest.main(verbosity=2)
