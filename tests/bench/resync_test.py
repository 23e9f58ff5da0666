#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-bench resync goes through every step with very little of everything, and its proof that
both copies are equal finds what is not."""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import resync  # noqa: E402
import resync_volume as volumes  # noqa: E402

BENCH = str(pathlib.Path(os.environ["GEMEL_BIN"]) / "gemel-bench")


class ResyncBenchTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def test_one_measurement_of_a_directory_over_a_shaped_link(self):
        given, base = self.directory / "given", self.directory / "base"
        (given / "d").mkdir(parents=True)
        base.mkdir()
        for number in range(4):
            (given / "d" / str(number)).write_bytes(os.urandom(100_000))
        kept = {path: path.read_bytes() for path in (given / "d").iterdir()}
        results = self.directory / "results"
        done = subprocess.run(
            [BENCH, "resync", "--directory", str(given), "--change", "10%", "--quick", "--link",
             "1Gbit", "--dir", str(base), "--json", str(results)],
            capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        written = json.loads(results.read_text(encoding="utf-8"))
        self.assertEqual([row["contender"] for row in written["rows"]],
                         ["gemel, first copy", "rsync, first copy", "gemel", "rsync, delta",
                          "rsync, whole", "rsync, checksum"])
        for row in written["rows"]:
            self.assertIn(row["contender"], done.stdout)
            self.assertGreater(row["sent"], 0)
            self.assertGreater(row["source_memory"], 0)
        self.assertGreaterEqual(written["changed_bytes"], 40_000)
        self.assertEqual({path: path.read_bytes() for path in kept}, kept)
        self.assertEqual(list(base.iterdir()), [])

    def test_every_row_of_the_table(self):
        base, results = self.directory / "base", self.directory / "results"
        base.mkdir()
        with contextlib.redirect_stdout(io.StringIO()) as text:
            resync.main(["--goals", "--rows", "abd", "--quick", "--size", "4MiB", "--files",
                         "100", "--dir", str(base), "--json", str(results)])
        goals = json.loads(results.read_text(encoding="utf-8"))["goals"]
        self.assertEqual([row[0][1] for row in goals], list("aabbbd"))
        for row in goals:
            self.assertIn(row[0], text.getvalue())
        self.assertEqual(list(base.iterdir()), [])

    def test_no_figure_of_copies_that_differ(self):
        def spoil(pair):
            with open(pair.target / "volume", "r+b") as file:
                file.seek(12345)
                file.write(b"x")

        with self.assertRaisesRegex(RuntimeError, "volume differs"), \
                contextlib.redirect_stdout(io.StringIO()) as text:
            resync.main(["--size", "1MiB", "--peer", "none", "--dir", str(self.directory)],
                        after_resync=spoil)
        self.assertEqual(text.getvalue(), "")
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_every_kind_of_difference_is_found(self):
        left, right = self.directory / "left", self.directory / "right"
        for root in (left, right):
            (root / "d").mkdir(parents=True)
            (root / "d" / "f").write_bytes(b"abc")
            os.utime(root / "d" / "f", (1, 1))
            os.utime(root / "d", (1, 1))
        self.assertIsNone(volumes.first_difference(left, right))
        file = right / "d" / "f"
        for spoil, said in (
                (lambda: file.write_bytes(b"abd"), "bytes"),
                (lambda: file.write_bytes(b"abcd"), "bytes"),
                (lambda: file.chmod(0o600), "st_mode"),
                (lambda: os.link(file, right / "e"), "one side|st_nlink"),
                (lambda: file.unlink(), "one side")):
            before = file.stat()
            spoil()
            if file.exists():
                os.utime(file, (1, 1))
            os.utime(right / "d", (1, 1))
            self.assertRegex(str(volumes.first_difference(left, right)), said)
            file.unlink(missing_ok=True)
            (right / "e").unlink(missing_ok=True)
            file.write_bytes(b"abc")
            file.chmod(before.st_mode & 0o7777)
            os.utime(file, (1, 1))
            os.utime(right / "d", (1, 1))

    def test_a_changed_copy_can_be_put_back(self):
        for name, volume in (("file", volumes.FileVolume(4 << 20, 0.01)),
                             ("run", volumes.FileVolume(4 << 20, 0.01, "sequential"))):
            copy = self.directory / name
            copy.mkdir()
            volume.make(copy)
            before = (copy / "volume").read_bytes()
            volume.change(copy, 1)
            after = (copy / "volume").read_bytes()
            differing = sum(before[i:i + 4096] != after[i:i + 4096]
                            for i in range(0, len(before), 4096))
            self.assertEqual(differing * 4096, volume.changed_bytes)
            volume.undo(copy)
            self.assertEqual((copy / "volume").read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
