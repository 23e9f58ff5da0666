#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The unit tests of cloned files, which skip where the file system can't clone, on those that can.
A test that skips here has failed."""

import os
import pathlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import default_binaries, run  # noqa: E402

TESTS = {
    "io_conformance_test": "*CloneIsApartFromWhatItWasMadeOf/uring",
    "block_volume_test": "*GoesBackToItsClone/uring",
}


class CloneTest(unittest.TestCase):
    def mount(self, file_system):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="gemel-clone-", dir="/var/tmp"))
        self.addCleanup(run, "rm", "-rf", str(folder))
        image, mount = folder / "image", folder / "mnt"
        mount.mkdir()
        run("truncate", "-s", "400M", str(image))
        run(f"mkfs.{file_system}", "-q", str(image))
        run("mount", "-o", "loop", str(image), str(mount))
        self.addCleanup(run, "umount", "-l", str(mount))
        return mount

    def test_where_files_can_be_cloned(self):
        for file_system in ("xfs", "btrfs"):
            mount = self.mount(file_system)
            for program, chosen in TESTS.items():
                with self.subTest(file_system=file_system, program=program):
                    done = run(str(pathlib.Path(default_binaries()) / program),
                               f"--gtest_filter={chosen}", check=False,
                               env={**os.environ, "TMPDIR": str(mount)})
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    self.assertIn("[  PASSED  ] 1 test.", done.stdout)
                    self.assertNotIn("SKIPPED", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
