#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every workload of the load generator that leaves other processes alone does what it says and
cleans up; the parts run; wrong words are refused."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BENCH = str(pathlib.Path(os.environ["GEMEL_BIN"]) / "gemel-bench")
MIB = 1 << 20


def bench(*words):
    return subprocess.run([BENCH, *words], capture_output=True, text=True, check=False)


class LoadTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        self.directory = pathlib.Path(temporary.name)

    def load(self, *words):
        done = bench("load", *words, "--json", "--dir", str(self.directory))
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_workloads_count_what_they_do(self):
        for words, count, size in (
                (["write4k", "--count", "50", "--size", "1MiB"], 50, 4096),
                (["write4k", "--count", "64", "--depth", "4", "--size", "1MiB"], 64, 4096),
                (["write4k", "--count", "64", "--depth", "4", "--size", "1MiB", "--shared"],
                 64, 4096),
                (["write4k-fsync", "--count", "5", "--size", "1MiB"], 5, 4096),
                (["read4k-cached", "--count", "50", "--size", "1MiB"], 50, 4096),
                (["seq1m", "--size", "3MiB"], 3, MIB),
                (["create", "--count", "101"], 101, 4096),
                (["create", "--count", "3", "--size", "10"], 3, 10)):
            with self.subTest(words):
                result = self.load(*words, "--seconds", "60")
                self.assertEqual(result["workload"], words[0])
                self.assertEqual(result["count"], count)
                self.assertEqual(result["bytes"], count * size)
                self.assertLessEqual(result["p50_us"], result["p99_us"])
                self.assertLessEqual(result["p99_us"], result["max_us"])
                self.assertGreater(result["seconds"], 0)
                self.assertEqual(list(self.directory.iterdir()), [])

    def test_an_archive_is_extracted_whole(self):
        result = self.load("untar", "--count", "450", "--keep")
        files = [p for p in self.directory.rglob("*") if p.is_file()]
        self.assertEqual(result["count"], 450)
        self.assertEqual(len(files), 450)
        self.assertEqual(sum(p.stat().st_size for p in files), result["bytes"])
        self.assertEqual({p.stat().st_mode & 0o777 for p in files}, {0o644, 0o755})

    def test_time_ends_what_has_no_count(self):
        self.assertGreater(self.load("write4k", "--seconds", "0.05", "--size", "1MiB")["count"], 0)

    def test_wrong_words_are_refused(self):
        for words in ([], ["nonsense"], ["load", "nonsense", "--dir", "/var/tmp"],
                      ["load", "write4k", "--dir", "/nonexistent"], ["load", "write4k"],
                      ["parts", "--nonsense"]):
            with self.subTest(words):
                self.assertEqual(bench(*words).returncode, 2)

    def test_a_failing_disk_is_reported(self):
        done = bench("load", "write4k", "--dir", "/proc")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/proc", done.stderr)

    def test_limits_are_measured(self):
        done = bench("limits", "--json", "--dir", str(self.directory))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(all(value > 0 for value in json.loads(done.stdout).values()))

    def test_every_part_runs(self):
        done = bench("parts", "--benchmark_min_time=0.0001", "--benchmark_format=json",
                     "--benchmark_filter=-objects:100000|67108864",
                     "--dir", str(self.directory))
        self.assertEqual(done.returncode, 0, done.stderr)
        parts = json.loads(done.stdout)["benchmarks"]
        self.assertEqual([p["name"] for p in parts if p.get("error_occurred")], [])
        for name in ("frame_encode", "intent_commit", "index_find", "fuse_decode"):
            self.assertTrue(any(p["name"].startswith(name) for p in parts), name)


if __name__ == "__main__":
    unittest.main()
