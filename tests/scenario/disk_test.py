#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that fill up or fail below the mirrored directory, on the node that serves and on the other
one: small ext4 images on loop devices. Full or failing on the secondary: it leaves the in-sync set,
says why, and the application sees nothing. Full on the serving node: the application gets ENOSPC,
and both copies are equal. Failing there: the other takes over with everything that was
acknowledged, and the failed copy is a source for nobody until it was filled again."""

import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries, run  # noqa: E402
from tree_compare import compare  # noqa: E402

PYTHON = "/usr/bin/python3"
DISK_MIB = 96
STATE_MIB = 16
LEFT_KIB = 2048          # of a disk that is nearly full
PATIENCE_S = 60          # a failed copy asks to be filled again every 30 s
# linux/fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH; every call fails with EIO
SHUT_DOWN = ("import fcntl,os,struct,sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), "
             "0x8004587D, struct.pack('I', 2))")


class Disk:
    """An ext4 file system on a loop device, mounted in one machine's namespace."""

    def __init__(self, machine, place, size_mib=DISK_MIB):
        self.machine = machine
        self.place = place
        image = machine.root / f"disk-{pathlib.Path(place).name}"
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
        run("mkfs.ext4", "-q", "-m", "0", str(image))
        self.device = run("losetup", "--find", "--show", str(image)).stdout.strip()
        self.mount()

    def mount(self):
        self.machine.inside("mount", "-o", "errors=remount-ro", self.device, self.place)

    def close(self):
        run("losetup", "--detach", self.device, check=False)

    def fill(self, left_kib=LEFT_KIB):
        free = os.statvfs(f"/proc/{self.machine.holder.pid}/root{self.place}")
        size = free.f_bfree * free.f_frsize - (left_kib << 10)
        # What is too large for fallocate by its own metadata is filled up by writing.
        self.machine.inside("sh", "-c", f"fallocate -l {size} {self.place}/filler || "
                            f"head -c {size} /dev/zero >{self.place}/filler", check=False)

    def free(self):
        self.machine.inside("rm", f"{self.place}/filler")

    def shut_down(self):
        self.machine.inside(PYTHON, "-c", SHUT_DOWN, self.place)

    def make_read_only(self):
        """What ext4 does by itself when it finds its structures damaged."""
        name = pathlib.Path(self.device).name
        pathlib.Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("by the test", "ascii")

    def replace(self):
        """As after a reboot of the machine with a disk that works again. Requires: no gemeld."""
        for path in reversed(self.machine.mounts_below(self.place)
                             + self.machine.mounts_below(str(self.machine.run_directory))):
            self.machine.inside("umount", "-l", path)
        run("e2fsck", "-fy", self.device, check=False)
        self.mount()


class DiskTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries())
        self.addCleanup(self.close)
        self.disks = {}
        for node in ("alpha", "beta"):
            self.disks[node] = Disk(self.lab[node], "/mnt")
            self.lab[node].inside("mkdir", DATA_PATH)
        self.log = self.lab.root / "acknowledged"
        self.log.touch()
        self.writers = []

    def close(self):
        self.end_writers()
        self.lab.close()
        for disk in self.disks.values():
            disk.close()

    def end_writers(self):
        for writer in self.writers:
            writer.kill()
            writer.wait()
        self.writers = []

    def write_on(self, node):
        """Waits until records arrive."""
        writer = self.lab[node].spawn(PYTHON, str(HERE / "recorder.py"), "write", DATA_PATH,
                                      str(self.log), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL)
        self.writers.append(writer)
        self.wait_for_records()
        return writer

    def wait_for_records(self):
        size = self.log.stat().st_size
        self.lab.wait_for(lambda: self.log.stat().st_size > size + 300, PATIENCE_S,
                          lambda: "nothing is acknowledged")

    def check_on(self, node):
        result = self.lab[node].inside(PYTHON, str(HERE / "recorder.py"), "check", DATA_PATH,
                                       str(self.log), check=False)
        self.assertEqual(result.returncode, 0, result.stdout)

    def bare(self, node):
        machine = self.lab[node]
        return f"/proc/{machine.holder.pid}/root{machine.run_directory}/tree/data/0"

    def assert_equal_copies(self):
        self.assertEqual(compare(self.bare("alpha"), self.bare("beta"))[:20], [])

    def finish(self):
        """Ends with two equal copies that hold what was acknowledged."""
        self.end_writers()
        primary, secondary = self.lab.wait_pair(PATIENCE_S)
        self.check_on(primary)
        self.lab.gemel(primary, "stop", "data")
        self.lab.gemel(secondary, "stop", "data")
        self.assert_equal_copies()

    def write_file(self, node, name, mib, check=True):
        return self.lab[node].inside("dd", "if=/dev/urandom", f"of={DATA_PATH}/{name}", "bs=64K",
                                     f"count={mib * 16}", "conv=fsync", "status=none", check=check)

    def make_many(self, node, check=True):
        """Files in a directory of their own."""
        return self.lab[node].inside("sh", "-c", f"cd {DATA_PATH} && mkdir -p many && "
                                     "for i in $(seq 2000); do echo $i >many/$i || exit; done",
                                     check=check)

    def wait_reason(self, node, *parts):
        self.lab.wait_for(lambda: all(part in str((self.lab.status(node) or {}).get("reason"))
                                      for part in parts), PATIENCE_S,
                          lambda: f"{parts} as the reason of {self.lab.status(node)}")

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

    def begin(self):
        self.lab.start()
        self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
        return self.write_on("alpha")

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
