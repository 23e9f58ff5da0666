#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The drivers of the whole go through every step, with very little of everything."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BENCH = str(pathlib.Path(os.environ["GEMEL_BIN"]) / "gemel-bench")


class DriverTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def bench(self, *words):
        done = subprocess.run([BENCH, *words], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_mirror_measures_every_workload(self):
        base, results = self.directory / "base", self.directory / "results"
        base.mkdir()
        text = self.bench("mirror", "--peer", "none", "--rounds", "2", "--seconds", "0.1",
                          "--files", "20", "--untar", "20", "--stream-mib", "2", "--pool-mib", "1",
                          "--dir", str(base), "--json", str(results))
        written = json.loads(results.read_text(encoding="utf-8"))
        self.assertEqual(len(written["results"]), 10)
        for title, contenders in written["results"].items():
            self.assertIn(title, text)
            measured = {"bare", "gemel"} | (set() if "read" in title else {"bare twice"})
            self.assertEqual({name for name in contenders if contenders[name]}, measured, title)
            for name in measured:
                self.assertEqual(len(contenders[name]), 2, title)
                self.assertTrue(all(r["count"] > 0 for r in contenders[name]), title)
        self.assertIn("round_trip_sleeping_us", written["limits"])
        self.assertEqual(set(written["memory"]), {"alpha", "beta"})
        self.assertEqual(list(base.iterdir()), [])

    def test_block_measures_every_workload(self):
        base, results = self.directory / "base", self.directory / "results"
        base.mkdir()
        text = self.bench("block", "--peer", "none", "--rounds", "1", "--seconds", "0.1",
                          "--size-mib", "1", "--volumes", "3", "--dir", str(base), "--json",
                          str(results))
        written = json.loads(results.read_text(encoding="utf-8"))
        self.assertEqual(len(written["results"]), 8)
        for title, contenders in written["results"].items():
            self.assertIn(title, text)
            measured = {"one volume", "a volume each"} if "clients" in title else (
                {"bare", "gemel"} | (set() if "read" in title else {"bare twice"}))
            self.assertEqual(set(contenders), measured, title)
            for name in measured:
                self.assertEqual(len(contenders[name]), 1, title)
                self.assertTrue(all(r["count"] > 0 for r in contenders[name]), title)
        self.assertIn("stream_gb_per_s", written["limits"])
        self.assertEqual(set(written["memory"]), {"alpha", "beta"})
        self.assertEqual(list(base.iterdir()), [])

    def test_block_says_how_to_install_what_is_missing(self):
        programs = self.directory / "bin"
        programs.mkdir()
        for name in ("fio", "unshare", "nsenter", "ip", "mount", "umount", "sleep", "sync",
                     "chattr"):
            (programs / name).symlink_to(shutil.which(name))
        done = subprocess.run(
            [BENCH, "block", "--rounds", "1", "--seconds", "0.1", "--size-mib", "1", "--volumes",
             "1", "--only", "depth 1, uncached", "--dir", str(self.directory)],
            capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": str(programs)})
        self.assertEqual(done.returncode, 0, done.stderr)
        for package in ("nbdkit", "qemu-utils", "nbd-server", "qemu-system-common"):
            self.assertIn(f"apt-get install {package}", done.stderr)

    def test_memory_shows_every_step(self):
        text = self.bench("memory", "--files", "200", "--dirty", "50", "--dir",
                          str(self.directory))
        for step in ("first synchronisation of 200", "walk", "50 files changed", "resync"):
            self.assertIn(step, text)
        self.assertEqual(list(self.directory.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
