#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Excluded names on two real nodes: kept per node, published by a rename (docs/exclude.md)."""

import errno
import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare, is_excluded  # noqa: E402

PYTHON = "/usr/bin/python3"
EXCLUDE = ["*.tmp", "pgsql_tmp/", "/var/only"]

# Runs inside the serving node, in the mirrored directory.
PUBLISHING = r"""
import errno, os, subprocess, sys
os.chdir(sys.argv[1])

def write(name, data, sync=False):
    with open(name, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())

def refused(code, function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        assert error.errno == code, error
        return
    raise AssertionError(f"{function.__name__}{arguments} was not refused")

# What databases and editors do: write aside, fsync, rename over, fsync the directory.
for round in range(20):
    data = b"%d " % round * 50_000
    write("state.tmp", data, sync=True)
    number = os.stat("state.tmp").st_ino
    os.rename("state.tmp", "state")
    assert os.stat("state").st_ino == number
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)

# The descriptor outlives the rename: what is written through it later is mirrored too.
fd = os.open("log.tmp", os.O_CREAT | os.O_RDWR, 0o640)
os.write(fd, b"before ")
os.setxattr(fd, "user.colour", b"red")
os.rename("log.tmp", "log")
os.write(fd, b"after")
os.fsync(fd)
os.close(fd)

with open("sparse.tmp", "wb") as file:
    file.truncate(300 << 20)
    file.seek(200 << 20)
    file.write(os.urandom(9 << 20))
os.chmod("sparse.tmp", 0o4711)
os.rename("sparse.tmp", "sparse")
os.symlink("state", "link.tmp")
os.rename("link.tmp", "link")
os.mkfifo("fifo.tmp")
os.rename("fifo.tmp", "fifo")

os.mkdir("pgsql_tmp")
write("pgsql_tmp/sort", b"s" * 1_000_000)
os.mkdir("var")
write("var/only", b"kept here")
write("var/other", b"mirrored")
write("kept.tmp", b"kept")
os.rename("var/other", "withdrawn.tmp")

# Two sides never share an object, and directories do not change sides.
refused(errno.EXDEV, os.link, "kept.tmp", "linked")
refused(errno.EXDEV, os.link, "state", "linked.tmp")
refused(errno.EXDEV, os.rename, "pgsql_tmp", "directory")
refused(errno.EXDEV, os.rename, "var", "elsewhere")
# mv copies then, and so do cp and ln's users.
subprocess.run(["mv", "pgsql_tmp", "moved"], check=True)
subprocess.run(["cp", "-a", "moved", "pgsql_tmp"], check=True)
subprocess.run(["cp", "kept.tmp", "copied"], check=True)
with open("kept.tmp", "rb") as source, open("ranged", "wb") as target:
    assert os.copy_file_range(source.fileno(), target.fileno(), 100) == 4
os.mkdir("d")
write("d/a.tmp", b"a")
os.mkdir("d/deep")
write("pgsql_tmp/unlinked", b"open without a name")
with open("pgsql_tmp/unlinked", "r+b") as file:
    os.unlink("pgsql_tmp/unlinked")
    assert file.read() == b"open without a name"
    file.write(b"!")
"""


class ExcludeTest(unittest.TestCase):
    def setUp(self):
        quoted = ", ".join(f'"{pattern}"' for pattern in EXCLUDE)
        self.lab = Lab(default_binaries(), mirror=f"exclude = [{quoted}]")
        self.addCleanup(self.lab.close)

    def kept(self, node):
        """The excluded names on a node's disk."""
        bare = self.lab[node].bare
        found = []
        for directory, directories, files in os.walk(bare):
            for name in directories + files:
                path = os.path.relpath(os.path.join(directory, name), bare)
                if not path.startswith(".gemel") and is_excluded(
                        EXCLUDE, os.fsencode(path), name in directories):
                    found.append(path)
        return sorted(found)

    def assert_equal_copies(self):
        differences = compare(self.lab["alpha"].bare, self.lab["beta"].bare, EXCLUDE)
        self.assertEqual(differences[:20], [])

    def test_names_are_kept_per_node_and_published_by_a_rename(self):
        lab = self.lab
        (lab["beta"].bare / "pgsql_tmp").mkdir()
        (lab["beta"].bare / "pgsql_tmp" / "own").write_text("of beta", encoding="utf-8")
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.assertEqual((serving, other), ("alpha", "beta"))
            lab[serving].inside(PYTHON, "-c", PUBLISHING, DATA_PATH)
            self.assert_equal_copies()
            self.assertEqual(self.kept("alpha"), ["d/a.tmp", "kept.tmp", "pgsql_tmp", "var/only",
                                                  "withdrawn.tmp"])
            self.assertEqual(self.kept("beta"), ["pgsql_tmp"])
            # Each node shows its own, and they survive a failover and the way back.
            own = lab[other].inside("cat", f"{DATA_PATH}/pgsql_tmp/own")
            self.assertEqual(own.stdout, "of beta")
            refusal = lab[other].inside("touch", f"{DATA_PATH}/new.tmp", check=False)
            self.assertIn(os.strerror(errno.EROFS), refusal.stderr)
            lab[serving].inside("sh", "-c", f"cd {DATA_PATH}; echo last >x.tmp; mv x.tmp x")
            lab[serving].kill_daemon()
            lab.wait_state(other, "alone")
            changes = (f"cd {DATA_PATH}; cat x; echo new >y.tmp; mv y.tmp y; echo kept >z.tmp; "
                       "mv pgsql_tmp/own published; rm -r d")
            self.assertEqual(lab[other].inside("sh", "-c", changes).stdout, "last\n")
            lab.start(serving)
            self.assertEqual(lab.wait_pair(), (other, serving))
            self.assert_equal_copies()
            self.assertEqual(self.kept("beta"), ["pgsql_tmp", "z.tmp"])
            self.assertEqual(self.kept("alpha"),
                             ["kept.tmp", "pgsql_tmp", "var/only", "withdrawn.tmp"])
            lab.gemel(serving, "swap", "data")
            self.assertEqual(lab.wait_pair(), (serving, other))
            kept = lab[serving].inside("cat", f"{DATA_PATH}/kept.tmp", f"{DATA_PATH}/published")
            self.assertEqual(kept.stdout, "keptof beta")
            self.assert_equal_copies()

    def test_a_changed_list_compares_everything_and_says_so(self):
        lab = self.lab
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            lab[serving].inside("sh", "-c", f"cd {DATA_PATH}; echo a >a.tmp; echo b >b.log")
            (lab[other].bare / "c.tmp").write_text("of the other", encoding="utf-8")
            for node in (other, serving):
                lab.gemel(node, "stop", "data")
                lab[node].kill_daemon()
            text = lab.config.read_text(encoding="utf-8").replace('"*.tmp"', '"*.log"')
            lab.config.write_text(text, encoding="utf-8")
            lab.start("alpha", "beta")
            serving, other = lab.wait_pair()
            self.assertEqual(compare(lab[serving].bare, lab[other].bare, ["*.log"]), [])
            self.assertEqual((lab[other].bare / "a.tmp").read_text(encoding="utf-8"), "a\n")
            self.assertFalse((lab[other].bare / "c.tmp").exists())
            events = lab.gemel(serving, "events").stdout
            self.assertIn("the list of excluded names has been changed", events)
            lab[serving].inside("sh", "-c", f"echo changed >{DATA_PATH}/b.log")
            self.assertEqual((lab[other].bare / "b.log").read_text(encoding="utf-8"), "b\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
