#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel verify with the real programs: while an application writes, nothing is found but what was
changed behind the mounts; that is named, and mended on demand; the last result and the schedule
outlive a restart."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402

# Files that come, grow, move and go for as long as it runs.
WRITER = """
import itertools, os
os.makedirs("busy/a", exist_ok=True); os.makedirs("busy/b", exist_ok=True)
for i in itertools.count():
    name, place = f"f{i % 40}", "ab"[i % 2]
    with open(f"busy/{place}/{name}", "ab") as file:
        file.write(os.urandom(1 + i * 7919 % 60000))
    os.chmod(f"busy/{place}/{name}", 0o600 + i % 64)
    if i % 3 == 0:
        os.rename(f"busy/{place}/{name}", f"busy/{'ba'[i % 2]}/{name}")
    if i % 11 == 0:
        os.unlink(f"busy/{'ba'[i % 2]}/{name}") if i % 3 == 0 else None
"""


class VerifyTest(unittest.TestCase):
    def make_lab(self, **options):
        lab = Lab(default_binaries(), **options)
        self.addCleanup(lab.close)
        return lab

    def fill(self, lab, node):
        script = ("mkdir -p d/e; for i in 1 2 3 4 5 6; do head -c 300000 /dev/urandom >d/f$i; "
                  "done; ln d/f1 d/e/link; ln -s f2 d/symbolic; truncate -s 20M d/e/sparse; "
                  "setfattr -n user.a -v one d/f4; sync .")
        lab[node].inside("sh", "-c", f"cd {DATA_PATH}; {script}")

    def verify(self, lab, node, *options):
        done = lab.gemel(node, "verify", "data", "--json", *options, check=False)
        answer = json.loads(done.stdout) if done.stdout else {}
        return done.returncode, answer, done.stderr

    def paths(self, answer):
        return {one["path"] for one in answer["differences"]}

    def verify_status(self, lab, node):
        return lab.status(node)["verify"]

    def change(self, bare):
        """What silent corruption, or a hand below the mount, could do; says to which paths."""
        d = bare / "d"
        before = {path: os.stat(path) for path in (d, d / "e", d / "f2", d / "f3", d / "f4")}
        with open(d / "f2", "r+b") as file:
            file.seek(100_000)
            file.write(b"flipped")
        os.chmod(d / "f3", 0o751)
        os.setxattr(d / "f4", "user.a", b"two")
        (d / "f5").unlink()
        (d / "e" / "strange").write_text("nobody's\n", encoding="utf-8")
        for path, stat in before.items():
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return {f"{DATA_PATH}/d/{name}" for name in ("f2", "f3", "f4", "f5", "e/strange")}

    def with_writer(self, lab, node):
        writer = lab[node].spawn("python3", "-c", f"import os; os.chdir('{DATA_PATH}')\n{WRITER}")
        self.addCleanup(writer.kill)
        return writer

    def test_names_exactly_what_differs_and_mends_it(self):
        lab = self.make_lab()
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.fill(lab, serving)
            writer = self.with_writer(lab, serving)
            for _ in range(3):
                code, answer, _ = self.verify(lab, serving, "--rate", "max")
                self.assertEqual((code, answer["differences"]), (0, []), answer)
                self.assertEqual(answer["last"]["outcome"], "equal")
            changed = self.change(lab[other].bare)
            code, answer, _ = self.verify(lab, serving)
            self.assertEqual((code, self.paths(answer)), (1, changed), answer)
            by_path = {one["path"]: one for one in answer["differences"]}
            f2 = by_path[f"{DATA_PATH}/d/f2"]
            self.assertEqual((f2["content"], f2["details"]), ([[98304, 102400]], []))
            f3 = by_path[f"{DATA_PATH}/d/f3"]["details"]
            self.assertEqual(f3, [{"what": "mode", "here": "0644", "there": "0751"}])
            f4 = by_path[f"{DATA_PATH}/d/f4"]["details"]
            self.assertEqual(f4, [{"what": "xattr user.a", "here": "one", "there": "two"}])
            text = lab.gemel(serving, "verify", "data", check=False).stdout
            self.assertIn(f"{DATA_PATH}/d/f5: missing on {other}", text)
            self.assertIn(f"{DATA_PATH}/d/e/strange: only on {other}", text)
            self.assertIn("5 objects not the same", text)
            # The node that follows does not start one.
            code, _, why = self.verify(lab, other)
            self.assertEqual(code, 1)
            self.assertIn(f"is served by {serving}", why)
            code, answer, _ = self.verify(lab, serving, "--repair")
            self.assertEqual((code, answer["last"]["outcome"]), (1, "mended"), answer)
            self.assertEqual(answer["last"]["mended"], 5)
            lab.wait_pair()
            code, answer, _ = self.verify(lab, serving)
            self.assertEqual((code, answer["differences"]), (0, []))
            # What was done to the serving copy is found as well, and that copy counts.
            changed = self.change(lab[serving].bare)
            code, answer, _ = self.verify(lab, serving, "--repair")
            self.assertEqual((code, self.paths(answer)), (1, changed), answer)
            writer.kill()
            writer.wait()
            lab.wait_pair()
            lab.wait_for(lambda: not compare(lab["alpha"].bare, lab["beta"].bare), 30,
                         lambda: compare(lab["alpha"].bare, lab["beta"].bare)[:20])
            events = lab.gemel(serving, "events").stdout
            self.assertIn(f"{DATA_PATH}/d/f2 is not the same on {other}", events)
            self.assertIn("all have been mended", events)
            last = self.verify_status(lab, serving)["last"]
            lab[serving].kill_daemon()
            lab.start(serving)
            lab.wait_state(serving, "primary", "secondary", "alone", "wait", "resync")
            lab.wait_for(lambda: self.verify_status(lab, serving)["last"] == last, 10,
                         lambda: self.verify_status(lab, serving))

    def test_ends_when_told_and_with_the_session_and_runs_by_the_schedule(self):
        lab = self.make_lab(mirror='verify = "5s"')
        with lab.explained():
            lab.start()
            serving, other = lab.wait_pair()
            self.fill(lab, serving)
            lab.wait_for(lambda: (self.verify_status(lab, serving)["last"] or {}).get("scheduled"),
                         30, lambda: self.verify_status(lab, serving))
            self.assertEqual(self.verify_status(lab, serving)["last"]["outcome"], "equal")
            lab.wait_for(lambda: not self.verify_status(lab, serving)["running"], 30,
                         lambda: "it does not end")
            command = (str(lab.binaries / "gemel"), "--run", str(lab[serving].run_directory),
                       "verify", "data", "--rate", "100KiB")

            def begin():
                # A scheduled one may be under way at the moment.
                for _ in range(20):
                    process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                               stderr=subprocess.PIPE, text=True)
                    lab.wait_for(lambda: process.poll() is not None
                                 or self.verify_status(lab, serving)["running"], 10,
                                 lambda: "it does not begin")
                    time.sleep(0.5)
                    if process.poll() is None:
                        return process
                    self.assertIn("under way already", process.communicate()[1])
                raise AssertionError("it does not begin")

            started = begin()
            code, _, why = self.verify(lab, serving)
            self.assertEqual(code, 1)
            self.assertIn("under way already", why)
            started.send_signal(signal.SIGINT)
            self.assertIn("stopped by a person", started.communicate(timeout=20)[1])
            self.assertEqual(started.returncode, 1)
            self.assertEqual(self.verify_status(lab, serving)["last"]["outcome"], "stopped")
            started = begin()
            lab.gemel(serving, "verify", "data", "--stop")
            self.assertIn("stopped by a person", started.communicate(timeout=20)[1])
            started = begin()
            lab[other].kill_daemon()
            self.assertIn("not in sync", started.communicate(timeout=20)[1])
            self.assertEqual(started.returncode, 1)
            code, _, why = self.verify(lab, serving)
            self.assertEqual(code, 1)
            self.assertRegex(why, "in sync")


if __name__ == "__main__":
    unittest.main(verbosity=2)
