# SPDX-License-Identifier: Apache-2.0
"""A lab whose two nodes keep the mirrored directory on small ext4 images on loop devices, which can
be filled, made to fail, to hang and to forget; and what tests do with it."""

import fcntl
import os
import pathlib
import struct
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries, run  # noqa: E402
from tree_compare import compare  # noqa: E402

PYTHON = "/usr/bin/python3"
DISK_MIB = 96
LEFT_KIB = 2048          # of a disk that is nearly full
PATIENCE_S = 60          # a failed copy asks to be filled again every 30 s
GONE_S = 30              # a file system without users ends when the kernel has let go of its files
# linux/fs/ext4/ext4.h
EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2


class Disk:
    """An ext4 file system on a loop device, mounted in one machine's namespace."""

    def __init__(self, machine, place, size_mib=DISK_MIB):
        self.machine = machine
        self.place = place
        image = machine.root / f"disk-{pathlib.Path(place).name}"
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
        run("mkfs.ext4", "-q", "-m", "0", str(image))
        self.hangs = False
        self.device = run("losetup", "--find", "--show", str(image)).stdout.strip()
        self.mount()

    def mount(self):
        self.machine.inside("mount", "-o", "errors=remount-ro", self.device, self.place)

    def close(self):
        run("losetup", "--detach", self.device, check=False)

    @property
    def seen_from_here(self):
        return f"/proc/{self.machine.holder.pid}/root{self.place}"

    def fill(self, left_kib=LEFT_KIB):
        free = os.statvfs(self.seen_from_here)
        size = free.f_bfree * free.f_frsize - (left_kib << 10)
        # What is too large for fallocate by its own metadata is filled up by writing.
        self.machine.inside("sh", "-c", f"fallocate -l {size} {self.place}/filler || "
                            f"head -c {size} /dev/zero >{self.place}/filler", check=False)

    def free(self):
        self.machine.inside("rm", f"{self.place}/filler")

    def shut_down(self):
        """Every call fails with EIO from now on, and what was not synced is forgotten."""
        root = os.open(self.seen_from_here, os.O_RDONLY)
        try:
            fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(root)

    def make_read_only(self):
        """What ext4 does by itself when it finds its structures damaged."""
        name = pathlib.Path(self.device).name
        pathlib.Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("by the test", "ascii")

    def hang(self, hangs):
        """What changes the file system waits until it goes on."""
        if hangs == self.hangs:
            return
        self.hangs = hangs
        self.machine.inside("fsfreeze", "--freeze" if hangs else "--unfreeze", self.place)

    def replace(self):
        """As after a reboot of the machine with a disk that works again. Requires: no gemeld."""
        for path in reversed(self.machine.mounts_below(self.place)
                             + self.machine.mounts_below(str(self.machine.run_directory))):
            self.machine.inside("umount", "-l", path)
        run("e2fsck", "-fy", self.device, check=False)
        self.mount()

    def wait_until_gone(self):
        """Until then another mount would be of the same file system in memory, not of the disk."""
        end = time.monotonic() + GONE_S
        while pathlib.Path("/sys/fs/ext4", pathlib.Path(self.device).name).exists():
            if time.monotonic() > end:
                raise AssertionError(f"{self.place} of {self.machine.name} is still in use")
            time.sleep(0.005)

    def mount_again(self):
        """What was in memory is gone, and the journal is replayed. Requires: unmounted."""
        self.wait_until_gone()
        try:
            self.mount()
        except subprocess.CalledProcessError:
            run("e2fsck", "-fy", self.device, check=False)
            self.mount()


class DiskLabTest(unittest.TestCase):
    """Two nodes, whose directories lie on small file systems of their own."""

    FAILOVER = ""          # lines of [failover]

    def setUp(self):
        self.lab = Lab(default_binaries(), failover=self.FAILOVER)
        self.disks = {}
        self.writers = []
        self.addCleanup(self.close)
        for node in ("alpha", "beta"):
            self.disks[node] = Disk(self.lab[node], "/mnt")
            self.lab[node].inside("mkdir", DATA_PATH)
        self.log = self.lab.root / "acknowledged"
        self.log.touch()

    def close(self):
        for disk in self.disks.values():
            disk.hang(False)   # nothing that hangs can be ended
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

    def wait_reason(self, node, *parts):
        self.lab.wait_for(lambda: all(part in str((self.lab.status(node) or {}).get("reason"))
                                      for part in parts), PATIENCE_S,
                          lambda: f"{parts} as the reason of {self.lab.status(node)}")

    def begin(self):
        self.lab.start()
        self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
        return self.write_on("alpha")
