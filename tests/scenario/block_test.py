#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A block volume beside a directory in one mirror, with the real programs: written by qemu-io over
NBD, equal on both nodes byte by byte, there after a failover, resynchronised by what changed."""

import hashlib
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, NODES, Lab, default_binaries, run  # noqa: E402

PATIENCE_S = 40
SIZE = 64 << 20
BACKING = "/mnt/disks/disk0.img"
BLOCK = f"""
listen = "0.0.0.0:10809"
[[mirror.data.block]]
name = "disk0"
backing = "{BACKING}"
size = "64MiB"
"""


class BlockTest(unittest.TestCase):
    def setUp(self):
        self.use(Lab(default_binaries(), mirror=BLOCK))

    def use(self, lab):
        self.lab = lab
        self.addCleanup(self.lab.close)
        for node in NODES:
            (self.lab[node].root / "mnt" / "disks").mkdir()

    def image(self, node):
        return self.lab[node].root / "mnt" / "disks" / "disk0.img"

    def digest(self, node):
        return hashlib.sha256(self.image(node).read_bytes()).hexdigest()

    def url(self, node):
        socket = self.lab[node].run_directory / "nbd" / "data" / "disk0.sock"
        return f"nbd+unix:///disk0?socket={socket}"

    def qemu_io(self, node, *commands, check=True):
        arguments = [part for command in commands for part in ("-c", command)]
        done = run("timeout", str(PATIENCE_S), "qemu-io", "-f", "raw", "-t", "writethrough",
                   self.url(node), *arguments, check=False)
        text = done.stdout + done.stderr
        failed = done.returncode != 0 or "failed" in text
        if check:
            self.assertFalse(failed, text + self.lab.logs())
        return not failed, text

    def volume(self, node):
        return self.lab.status(node)["volumes"][1]

    def assert_equal_copies(self):
        self.assertEqual(*(self.digest(node) for node in NODES))

    def begin(self):
        self.lab.start()
        return self.lab.wait_pair()

    def test_what_is_written_over_nbd_is_on_both_and_survives_a_failover(self):
        serving, other = self.begin()
        self.assertEqual(self.image(serving).stat().st_size, SIZE)
        self.qemu_io(serving, "write -P 0x11 0 1M", "write -P 0x22 5000 3000",
                     "write -z 65536 65536", "discard 131072 65536", "flush",
                     f"write -P 0x33 {SIZE - 4096} 4096", "read -P 0x11 0 5000",
                     "read -P 0x22 5000 3000", "read -P 0 65536 131072")
        self.lab[serving].inside("sh", "-c", f"echo beside >{DATA_PATH}/file")
        self.assert_equal_copies()
        volume = self.volume(serving)
        self.assertEqual((volume["kind"], volume["name"], volume["path"], volume["sync"]),
                         ("block", "disk0", BACKING, "write"))
        self.assertEqual(volume["dirty_bytes"], 0)
        # The secondary serves nobody, and says so.
        ok, text = self.qemu_io(other, "read 0 512", check=False)
        self.assertFalse(ok)
        self.assertIn("secondary", text)

        self.lab[serving].kill_daemon()
        self.lab.wait_state(other, "alone")
        self.qemu_io(other, "read -P 0x22 5000 3000", f"read -P 0x33 {SIZE - 4096} 4096",
                     "write -P 0x44 1000000 100", "write -P 0x55 32M 4096")
        self.assertEqual(self.volume(other)["dirty_bytes"], 2 * 4096)
        self.assertEqual(
            self.lab[other].inside("cat", f"{DATA_PATH}/file").stdout.strip(), "beside")
        self.lab.start(serving)
        self.assertEqual(self.lab.wait_pair(), (other, serving))
        self.assert_equal_copies()
        self.lab.gemel(serving, "swap", "data")
        self.assertEqual(self.lab.wait_pair(), (serving, other))
        self.qemu_io(serving, "read -P 0x44 1000000 100", "read -P 0x55 32M 4096",
                     "write -P 0x66 0 4096")
        self.assert_equal_copies()

    def test_it_grows_under_a_client_and_keeps_its_size(self):
        serving, other = self.begin()
        client = subprocess.Popen(["qemu-io", "-f", "raw", self.url(serving)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
        self.addCleanup(client.wait)
        self.addCleanup(client.stdin.close)
        self.addCleanup(client.stdout.close)

        def write(pattern):
            client.stdin.write(f"write -P {pattern} 1M 4096\n")
            client.stdin.flush()
            line = client.stdout.readline()
            self.assertIn("wrote 4096/4096", line, self.lab.logs())
            client.stdout.readline()

        write(1)
        refused = self.lab.gemel(other, "resize", "data", "disk0", "96MiB", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("primary", refused.stderr)
        self.lab.gemel(serving, "resize", "data", "disk0", "96MiB")
        write(2)
        for node in NODES:
            self.assertEqual(self.volume(node)["size_bytes"], 96 << 20)
        end = (96 << 20) - 4096
        # Over TCP, from another machine.
        done = self.lab["client"].inside(
            "timeout", str(PATIENCE_S), "qemu-io", "-f", "raw", "-t", "writethrough", "-c",
            f"write -P 0x77 {end} 4096", f"nbd://{self.lab.address(serving)}/data/disk0",
            check=False)
        self.assertIn("wrote 4096/4096", done.stdout, done.stderr + self.lab.logs())
        self.assert_equal_copies()
        smaller = self.lab.gemel(serving, "resize", "data", "disk0", "64MiB", check=False)
        self.assertIn("never shrinks", smaller.stderr)

        self.lab[serving].kill_daemon()
        self.lab.wait_state(other, "alone")
        self.lab.gemel(other, "resize", "data", "disk0", "97MiB")
        self.qemu_io(other, f"read -P 0x77 {end} 4096", f"write -P 0x78 {96 << 20} 4096")
        # The configuration still says 64 MiB.
        self.lab.start(serving)
        self.assertEqual(self.lab.wait_pair(), (other, serving))
        self.assertEqual(self.volume(serving)["size_bytes"], 97 << 20)
        self.assert_equal_copies()

    def test_with_early_answers_what_was_flushed_is_on_the_other(self):
        self.lab.close()
        self.use(Lab(default_binaries(), mirror='sync = "fsync"' + BLOCK, volumes=""))
        serving, other = self.begin()
        self.qemu_io(serving, *[f"write -P {i + 1} {i}M 1M" for i in range(32)], "flush")
        self.lab[serving].kill_daemon()
        self.lab.wait_state(other, "alone")
        self.assertEqual(self.lab.status(other)["volumes"][0]["sync"], "fsync")
        self.qemu_io(other, *[f"read -P {i + 1} {i}M 1M" for i in range(32)])
        self.lab.start(serving)
        self.lab.wait_pair()
        self.assert_equal_copies()

    def test_an_image_is_adopted_and_a_clone_of_it_goes_to_the_other(self):
        image = self.image(NODES[0])
        run("sh", "-c", f"head -c {SIZE // 2} /dev/urandom >{image}")
        content = image.read_bytes()
        serving, _ = self.begin()
        self.assertEqual(serving, NODES[0])
        self.assert_equal_copies()
        self.assertEqual(self.image(NODES[1]).read_bytes()[:len(content)], content)

    def test_a_backing_that_cannot_be_one_is_refused_with_a_sentence(self):
        run("truncate", "-s", str(2 * SIZE), str(self.image(NODES[0])))
        self.lab.start("witness")
        done = subprocess.run(
            [*self.lab[NODES[0]].prefix(), "timeout", "20", str(self.lab.gemeld), "--config",
             str(self.lab.config), "--node", NODES[0], "--state", str(self.lab[NODES[0]].state),
             "--run", str(self.lab[NODES[0]].run_directory)],
            check=False, text=True, capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("a block volume never shrinks", done.stderr)
        self.assertEqual(self.image(NODES[0]).stat().st_size, 2 * SIZE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
