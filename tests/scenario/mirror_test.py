#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two real nodes, real mounts: what is done on the serving node is on both, and comes back."""

import errno
import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402

PYTHON = "/usr/bin/python3"


class MirrorTest(unittest.TestCase):
    def setUp(self):
        self.lab = self.make_lab(mirror='virtual-ip = ["10.77.0.50/24"]')

    def make_lab(self, **options):
        lab = Lab(default_binaries(), **options)
        self.addCleanup(lab.close)
        return lab

    def assert_equal_copies(self):
        differences = compare(self.lab["alpha"].bare, self.lab["beta"].bare)
        self.assertEqual(differences[:20], [])

    def test_every_operation_is_mirrored(self):
        lab = self.lab
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.assertEqual(serving, "alpha")
            lab[serving].inside(PYTHON, str(HERE / "operations.py"), DATA_PATH)
            self.assert_equal_copies()
            # What is there is seen on the other node, and can't be changed there.
            self.assertEqual(lab[other].inside("cat", f"{DATA_PATH}/small").stdout, "hello\n")
            refusal = lab[other].inside("touch", f"{DATA_PATH}/new", check=False)
            self.assertIn(os.strerror(errno.EROFS), refusal.stderr)

    def test_first_synchronisation_of_an_existing_tree(self):
        lab = self.lab
        subprocess.run(["cp", "-a", "/usr/include/linux", str(lab["alpha"].bare)], check=True)
        operations = lab["alpha"].bare / "operations"
        operations.mkdir()
        subprocess.run([PYTHON, str(HERE / "operations.py"), str(operations)], check=True)
        with lab.explained():
            lab.start()
            lab.wait_pair()
            self.assert_equal_copies()

    def test_an_older_copy_receives_what_differs(self):
        lab = self.lab
        for node in ("alpha", "beta"):
            subprocess.run(["cp", "-a", "/usr/include/linux", str(lab[node].bare)], check=True)
        (lab["alpha"].bare / "linux" / "fuse.h").write_text("changed\n", encoding="utf-8")
        (lab["beta"].bare / "linux" / "superfluous").write_text("x", encoding="utf-8")
        with lab.explained():
            lab.start()
            lab.wait_pair()
            self.assert_equal_copies()

    def test_failover_and_failback(self):
        lab = self.lab
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            write = f"echo first >{DATA_PATH}/one; sync {DATA_PATH}/one; mkdir {DATA_PATH}/d"
            lab[serving].inside("sh", "-c", write)
            lab[serving].kill_daemon()
            lab.wait_state(other, "alone")
            self.assertEqual(lab[other].inside("cat", f"{DATA_PATH}/one").stdout, "first\n")
            changes = f"cd {DATA_PATH}; echo second >two; mv d e; rm one; echo x >e/in"
            lab[other].inside("sh", "-c", changes)
            lab.start(serving)
            self.assertEqual(lab.wait_pair(), (other, serving))
            self.assert_equal_copies()
            # The address that the killed process held is on one node only.
            held = [node for node in (serving, other) if lab.status(node)["virtual_ip"][0]["held"]]
            self.assertEqual(held, [other])
            self.assertEqual(lab[serving].inside("cat", f"{DATA_PATH}/two").stdout, "second\n")
            lab.gemel(serving, "swap", "data")
            self.assertEqual(lab.wait_pair(), (serving, other))
            lab[serving].inside("sh", "-c", f"echo third >{DATA_PATH}/three")
            self.assert_equal_copies()

    def test_the_path_never_shows_the_bare_directory(self):
        lab = self.lab
        (lab["alpha"].bare / "secret").write_text("x", encoding="utf-8")
        with lab.explained():
            lab.start()
            serving, _ = lab.wait_pair()
            lab[serving].kill_daemon()
            after_crash = lab[serving].inside("ls", DATA_PATH, check=False)
            self.assertNotEqual(after_crash.returncode, 0)
            self.assertNotIn("secret", after_crash.stdout)
            lab.start(serving)
            lab.wait_pair()
            lab.gemel(serving, "stop", "data")
            self.assertEqual(lab[serving].inside("ls", DATA_PATH).stdout, "")
            refusal = lab[serving].inside("touch", f"{DATA_PATH}/new", check=False)
            self.assertIn(os.strerror(errno.EROFS), refusal.stderr)
            lab.gemel(serving, "release", "data")
            self.assertIn("secret", lab[serving].inside("ls", DATA_PATH).stdout)

    def test_without_an_arbiter_a_person_decides(self):
        lab = self.make_lab(arbiter="none")
        with lab.explained():
            lab.start("alpha", "beta")
            serving, other = lab.wait_pair()
            lab[serving].inside("sh", "-c", f"echo kept >{DATA_PATH}/file")
            lab[serving].kill_daemon()
            lab.wait_state(other, "wait")
            refused = lab.gemel(other, "promote", "data", check=False)
            self.assertEqual(refused.returncode, 1)
            lab.gemel(other, "promote", "data", "--force")
            lab.wait_state(other, "alone")
            self.assertEqual(lab[other].inside("cat", f"{DATA_PATH}/file").stdout, "kept\n")
            lab.start(serving)
            self.assertEqual(lab.wait_pair(), (other, serving))


if __name__ == "__main__":
    unittest.main(verbosity=2)
