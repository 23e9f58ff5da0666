#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The source of a resync is lost before its end: on a file system that can clone files, the target
goes back to its last consistent state; elsewhere it says that it can't."""

import os
import pathlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries, run  # noqa: E402
from tree_compare import compare  # noqa: E402

BLOCK = """
resync-rate = "1MiB..1MiB"
[[mirror.data.block]]
name = "disk0"
backing = "/mnt/disk0"
size = "8MiB"
"""
FILL = """
set -e; mkdir d e; for i in 1 2 3 4 5 6 7 8; do head -c 300000 /dev/urandom >d/f$i; done
ln d/f1 e/linked; ln -s f2 d/soft; setfattr -n user.note -v then d/f3; chmod 640 d/f4; sync .
"""
CHANGE = """
set -e; for i in 1 2 3; do head -c 4000000 /dev/urandom >d/f$i; done; rm d/f4 e/linked
mv d/f5 e/moved; mv e d/inside; mkdir e; echo new >e/new; setfattr -n user.note -v now d/f3
truncate -s 100 d/f6; rm d/f7; mkdir d/f7; head -c 20000000 /dev/urandom >big; sync .
"""


class BeforeResyncTest(unittest.TestCase):
    def make_lab(self, file_system, mirror=BLOCK):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="gemel-before-", dir="/var/tmp"))
        self.addCleanup(run, "rm", "-rf", str(folder))
        (folder / "mnt").mkdir()
        run("truncate", "-s", "1G", str(folder / "image"))
        run(f"mkfs.{file_system}", "-q", str(folder / "image"))
        run("mount", "-o", "loop", str(folder / "image"), str(folder / "mnt"))
        self.addCleanup(run, "umount", "-l", str(folder / "mnt"))
        lab = Lab(default_binaries(), directory=folder / "mnt", mirror=mirror)
        self.addCleanup(lab.close)
        return lab

    def write_disk(self, lab, node, pattern, offset):
        socket = lab[node].run_directory / "nbd" / "data" / "disk0.sock"
        run("qemu-io", "-f", "raw", f"nbd+unix:///disk0?socket={socket}",
            "-c", f"write -P {pattern} {offset} 1M", "-c", "flush")

    def interrupt(self, lab):
        """A resync that loses its source; returns both nodes, and what the target held before."""
        lab.start()
        source, target = lab.wait_pair()
        lab[source].inside("sh", "-c", f"cd {DATA_PATH}; {FILL}")
        self.write_disk(lab, source, 1, 0)
        then = lab.root / "then"
        run("cp", "-a", "--sparse=always", str(lab[target].bare), str(then))
        run("cp", str(lab[target].root / "mnt" / "disk0"), str(lab.root / "disk-then"))
        lab[target].kill_daemon()
        lab.wait_state(source, "alone")
        lab[source].inside("sh", "-c", f"cd {DATA_PATH}; {CHANGE}")
        self.write_disk(lab, source, 2, 0)
        lab.start(target)

        def is_half_filled():
            status = lab.status(target)
            resync = status and status["volumes"][0]["resync"]
            return resync and resync["done_bytes"] > 2_000_000

        lab.wait_for(is_half_filled, 60, lambda: lab.status(target))
        lab[source].kill_daemon()
        lab.wait_state(target, "wait")
        return source, target, then

    def test_it_goes_back_to_the_last_consistent_state(self):
        lab = self.make_lab("xfs")
        with lab.explained():
            source, target, then = self.interrupt(lab)
            self.assertTrue(compare(then, lab[target].bare), "nothing was resynchronised")
            self.assertTrue(lab.status(target)["before_resync"]["kept"])
            self.assertIn("--before-resync", lab.gemel(target, "status").stdout)
            # What is kept outlives the process.
            lab[target].kill_daemon()
            lab.start(target)
            lab.wait_state(target, "wait")
            refused = lab.gemel(target, "promote", "data", check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("--before-resync", refused.stderr)
            lab.gemel(target, "promote", "data", "--force", "--before-resync")
            lab.wait_state(target, "alone")
            self.assertEqual(compare(then, lab[target].bare), [])
            run("cmp", str(lab[target].root / "mnt" / "disk0"), str(lab.root / "disk-then"))
            lab[target].inside("test", "-s", f"{DATA_PATH}/d/soft")
            self.assertFalse((lab[target].root / "mnt" / "disk0.before-resync").exists())
            # The other is not overwritten before a person says so.
            lab.start(source)
            lab.wait_state(source, "wait")
            lab.wait_for(lambda: "apart" in lab.status(source)["reason"], 30,
                         lambda: lab.status(source))
            lab.gemel(source, "resync", "data", "--full")
            lab.wait_for(lambda: lab.state(source) == "secondary", 90, lambda: lab.status(source))
            self.assertEqual(compare(lab[target].bare, lab[source].bare), [])

    def test_it_is_given_up_where_the_resync_needs_the_space(self):
        lab = self.make_lab("xfs", mirror="")
        with lab.explained():
            lab.start()
            source, target = lab.wait_pair()
            write = f"head -c {80 << 20} /dev/urandom | dd of={DATA_PATH}/f bs=1M iflag=fullblock" \
                    f" conv=notrunc; sync {DATA_PATH}"
            lab[source].inside("sh", "-ec", write)
            lab[target].kill_daemon()
            lab.wait_state(source, "alone")
            lab[source].inside("sh", "-ec", write)
            room = os.statvfs(lab.root)
            # Less than what is changed, also when XFS has taken back what it had reserved ahead.
            ballast = room.f_bavail * room.f_frsize - (8 << 20)
            run("fallocate", "-l", str(ballast), str(lab.root / "ballast"))
            lab.start(target)
            lab.wait_for(lambda: lab.status(target) and
                         "No space left" in lab.status(target)["reason"],
                         60, lambda: lab.status(target))
            status = lab.status(target)["before_resync"]
            self.assertFalse(status["kept"])
            self.assertIn("No space left", status["why_not"])
            # The file system gives the space back in its own time.
            lab.wait_for(lambda: os.statvfs(lab.root).f_bavail * room.f_frsize > (50 << 20), 30,
                         lambda: os.statvfs(lab.root))
            lab.gemel(target, "start", "data")
            lab.wait_pair()
            self.assertEqual(compare(lab[source].bare, lab[target].bare), [])

    def test_it_says_where_nothing_can_be_kept(self):
        lab = self.make_lab("ext4")
        with lab.explained():
            _, target, _ = self.interrupt(lab)
            status = lab.status(target)["before_resync"]
            self.assertFalse(status["kept"])
            self.assertIn("XFS", status["why_not"])
            superblock = lab[target].state / "data" / "superblock"
            then = superblock.read_bytes()
            refused = lab.gemel(target, "promote", "data", "--force", "--before-resync",
                                check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("not kept: not every volume", refused.stderr)
            self.assertEqual(lab.state(target), "wait")
            self.assertEqual(superblock.read_bytes(), then, "what was refused was stored")


if __name__ == "__main__":
    unittest.main(verbosity=2)
