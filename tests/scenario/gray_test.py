#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gray failures: nodes that answer heartbeats and yet do not work. A disk that hangs below the
serving node, a disk that hangs below the secondary, a secondary that is slow, one that is lost
again and again. Nothing acknowledged may be missing, and each has to end as the configuration says.
How long the application was without an answer is printed for each, and judged by nobody."""

import signal
import subprocess
import threading
import time
import unittest

from disk_lab import DATA_PATH, PATIENCE_S, PYTHON, DiskLabTest

# Says when each write was acknowledged, on whichever node lets it write.
TICKER = f"""
import os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
while True:
    try:
        file = os.open("{DATA_PATH}/ticks", os.O_CREAT | os.O_WRONLY)
        while True:
            os.pwrite(file, b"x" * 4096, 0)
            os.write(log, b"%f\\n" % time.monotonic())
            time.sleep(0.002)
    except OSError:
        time.sleep(0.01)
"""


class GrayLabTest(DiskLabTest):
    @classmethod
    def setUpClass(cls):
        cls.stalls = []

    @classmethod
    def tearDownClass(cls):
        print("\nlongest time without an acknowledged write")
        for fault, stall in cls.stalls:
            print(f"  {fault:<44}{stall * 1000:8.0f} ms", flush=True)

    def begin(self):
        super().begin()
        self.ticks = self.lab.root / "ticks"
        self.ticks.touch()
        for node in ("alpha", "beta"):
            self.writers.append(self.lab[node].spawn(
                PYTHON, "-c", TICKER, str(self.ticks), stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL))
        self.wait_for_ticks()

    def wait_for_ticks(self):
        since = time.monotonic()
        self.lab.wait_for(lambda: any(tick > since for tick in self.read_ticks()), PATIENCE_S,
                          lambda: "nothing is acknowledged")

    def read_ticks(self):
        return [float(line) for line in self.ticks.read_text("ascii").split("\n")[:-1]]

    def note_stall(self, fault, since):
        ticks = [since] + [tick for tick in self.read_ticks() if tick > since]
        self.stalls.append((fault, max(b - a for a, b in zip(ticks, ticks[1:]))))

    def assert_said(self, node, text):
        self.assertIn(text, self.lab.gemel(node, "events").stdout)


class HangTest(GrayLabTest):
    FAILOVER = 'heartbeat = "100ms"\ndetect = "1s"\nio-timeout = "2s"'

    def test_a_disk_hangs_below_the_serving_node(self):
        with self.lab.explained():
            self.begin()
            since = time.monotonic()
            self.disks["alpha"].hang(True)
            self.lab.wait_state("beta", "alone", timeout=PATIENCE_S)
            self.wait_for_ticks()
            self.note_stall("the serving node's disk hangs (io-timeout 2 s)", since)
            self.assert_said("beta", "alpha's disk hangs")
            self.check_on("beta")
            # What has hung is done now, on a copy that does not count any more.
            self.disks["alpha"].hang(False)
            self.assertEqual(self.lab.wait_pair(PATIENCE_S), ("beta", "alpha"))
            self.finish()

    def test_a_disk_hangs_below_the_secondary(self):
        with self.lab.explained():
            self.begin()
            since = time.monotonic()
            self.disks["beta"].hang(True)
            self.lab.wait_state("alpha", "alone", timeout=PATIENCE_S)
            self.wait_for_ticks()
            self.note_stall("the secondary's disk hangs (detect 1 s)", since)
            self.disks["beta"].hang(False)
            self.assertEqual(self.lab.wait_pair(PATIENCE_S), ("alpha", "beta"))
            self.finish()

    def test_the_secondary_is_lost_again_and_again(self):
        with self.lab.explained():
            self.begin()
            since = time.monotonic()
            for _ in range(4):
                self.lab["beta"].kill_daemon()
                self.lab.wait_state("alpha", "alone", timeout=PATIENCE_S)
                self.lab.start("beta")
                self.lab.wait_pair(PATIENCE_S)
            self.note_stall("the secondary is killed four times", since)
            self.assert_said("alpha", "beta was lost 4 times")
            self.finish()


class SlowTest(GrayLabTest):
    FAILOVER = 'heartbeat = "100ms"\ndetect = "1s"\nslow-peer = "5ms"\nslow-for = "3s"'

    def slow_down(self, node, is_over):
        """It works for a moment and sleeps for longer, but never for as long as `detect`."""
        while not is_over.is_set():
            for how, time_s in ((signal.SIGSTOP, 0.3), (signal.SIGCONT, 0.02)):
                self.lab[node].daemon.send_signal(how)
                is_over.wait(time_s)
        self.lab[node].daemon.send_signal(signal.SIGCONT)

    def test_the_secondary_is_slow(self):
        with self.lab.explained():
            self.begin()
            since = time.monotonic()
            is_over = threading.Event()
            slowness = threading.Thread(target=self.slow_down, args=("beta", is_over))
            slowness.start()
            try:
                self.lab.wait_for(lambda: "it has been slow for" in
                                  self.lab.gemel("alpha", "events").stdout, PATIENCE_S,
                                  lambda: "the slow node stays in the set")
            finally:
                is_over.set()
                slowness.join()
            self.note_stall("the secondary is slow (slow-peer 5 ms for 3 s)", since)
            self.finish()


if __name__ == "__main__":
    unittest.main(verbosity=2)
