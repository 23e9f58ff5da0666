#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Garbage on every port while the mirror is being written to: random bytes, half and replayed
handshakes, oversized lengths, hundreds of connections that never speak. Each connection is closed,
and nothing else happens: the mirror stays in sync, the writer goes on, memory and descriptors are
where they began. GEMEL_SEED repeats a run, GEMEL_ROUNDS asks for more."""

import os
import pathlib
import random
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
from tree_compare import compare  # noqa: E402

PYTHON = "/usr/bin/python3"
SEED = int(os.environ.get("GEMEL_SEED", str(random.SystemRandom().randrange(10**6))))
ROUNDS = int(os.environ.get("GEMEL_ROUNDS", "3"))
PATIENCE_S = 30
GROWTH_MAX_KIB = 16 * 1024   # of resident memory


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def sockets(pid):
    """How many sockets the process has."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            count += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            continue
    return count


class GarbageTest(unittest.TestCase):
    def spawn(self, node, *command, **options):
        process = self.lab[node].spawn(*map(str, command), stdin=subprocess.DEVNULL, text=True,
                                       **options)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def overhear(self):
        """The handshakes and heartbeats of a real start, to be replayed."""
        files = {}
        for node, port in (("beta", 7800), ("witness", 7801)):
            files[node] = self.lab.root / f"heard-by-{node}"
            self.spawn(node, PYTHON, HERE / "garbage.py", "record", port, files[node])
        self.lab.wait_for(lambda: all(file.exists() for file in files.values()), PATIENCE_S,
                          lambda: "nobody listens")
        self.lab.start()
        self.lab.wait_pair()
        self.lab.wait_for(lambda: "stream" in files["beta"].read_text()
                          and "datagram" in files["beta"].read_text()
                          and "stream" in files["witness"].read_text(), PATIENCE_S,
                          lambda: "nothing was heard")
        return files

    def attack(self, heard):
        attacks = [("client", "tcp", f"10.77.{network}.{number}:7800", heard["beta"])
                   for network in (0, 1) for number in (1, 2)]
        attacks += [("client", "tcp", "10.77.0.9:7801", heard["witness"])]
        attacks += [("client", "udp", f"10.77.0.{number}:7800", heard["beta"])
                    for number in (1, 2)]
        attacks += [(node, "unix", self.lab[node].run_directory / "control.sock", "")
                    for node in ("alpha", "beta")]
        return [(f"{kind} {place}",
                 self.spawn(node, PYTHON, HERE / "garbage.py", kind, place, SEED + number, ROUNDS,
                            recorded, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
                for number, (node, kind, place, recorded) in enumerate(attacks)]

    def facts(self):
        shown = {node: self.lab.status(node) for node in ("alpha", "beta")}
        return {node: (status["state"], status["epoch"], status["since"])
                for node, status in shown.items()}

    def test_garbage_closes_its_connection_and_nothing_else_happens(self):
        print(f"GEMEL_SEED={SEED}", flush=True)
        self.lab = Lab(default_binaries())
        self.addCleanup(self.lab.close)
        with self.lab.explained():
            heard = self.overhear()
            daemons = {node: self.lab[node].daemon.pid for node in ("alpha", "beta", "witness")}
            log = self.lab.root / "acknowledged"
            log.touch()
            self.spawn("alpha", PYTHON, HERE / "recorder.py", "write", DATA_PATH, log,
                       stdout=subprocess.DEVNULL)
            self.lab.wait_for(lambda: log.stat().st_size > 10_000, PATIENCE_S, lambda: "no writes")
            before = self.facts()
            memory = {node: memory_kib(pid) for node, pid in daemons.items()}
            count = {node: sockets(pid) for node, pid in daemons.items()}

            for name, process in self.attack(heard):
                output, _ = process.communicate(timeout=200)
                self.assertEqual(process.returncode, 0, f"{name}: {output}")

            acknowledged = log.stat().st_size
            self.lab.wait_for(lambda: log.stat().st_size > acknowledged + 1000, PATIENCE_S,
                              lambda: "the writer has stopped")
            self.assertEqual(self.facts(), before)
            for node, pid in daemons.items():
                self.assertIsNone(self.lab[node].daemon.poll(), f"{node} has ended")
                self.lab.wait_for(lambda: sockets(pid) <= count[node], PATIENCE_S,
                                  lambda: f"{node}: {sockets(pid)} sockets, not {count[node]}")
                grown = memory_kib(pid) - memory[node]
                self.assertLess(grown, GROWTH_MAX_KIB, f"{node} has grown by {grown} KiB")
            self.finish(log)

    def finish(self, log):
        """What was acknowledged meanwhile is there, on both."""
        self.lab.gemel("alpha", "swap", "data")
        self.assertEqual(self.lab.wait_pair(), ("beta", "alpha"))
        result = self.lab["beta"].inside(PYTHON, str(HERE / "recorder.py"), "check", DATA_PATH,
                                         str(log), check=False)
        self.assertEqual(result.returncode, 0, result.stdout)
        for node in ("beta", "alpha"):
            self.lab.gemel(node, "stop", "data")
        self.assertEqual(compare(self.lab["alpha"].bare, self.lab["beta"].bare)[:20], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
