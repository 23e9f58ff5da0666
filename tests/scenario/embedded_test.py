#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that are nodes themselves, by libgemel: the examples, on two machines of a lab. Most
tests kill the serving one (kill -9) while it writes and ask the other for everything that was
acknowledged; then the first comes back. The control sockets are the programs' own."""

import contextlib
import pathlib
import queue
import subprocess
import sys
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
from lab import NODES, Lab, default_binaries  # noqa: E402

PATIENCE_S = 60
BLOCK = """
[[mirror.data.block]]
name = "disk0"
backing = "/mnt/disks/disk0.img"
size = "16MiB"
"""


class Program:
    """One of the examples as the node of a machine."""

    def __init__(self, lab, name, node):
        machine = lab[node]
        self.log = open(machine.daemon_log, "ab")
        self.process = machine.spawn(
            str(lab.binaries / name), str(machine.config), node, str(machine.state),
            str(machine.run_directory), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, bufsize=1)
        machine.daemon = self.process       # so that the lab kills it and shows its threads
        self.end = "done" if name == "mirrored_sqlite" else "ok"    # the last line of an answer
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def ask(self, line):
        """The answer to a line, up to the one that ends it; None when the program is gone."""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            return None
        answer = []
        while True:
            got = self.lines.get(timeout=PATIENCE_S)
            if got is None:
                return None
            answer.append(got)
            if got == self.end or got.startswith("error") or line[:4] in ("get ", "size"):
                return "\n".join(answer)

    def rest(self):
        """What it has said and nobody has read, of a program that is gone."""
        self.reader.join(PATIENCE_S)
        lines = []
        while not self.lines.empty():
            lines.append(self.lines.get())
        return [line for line in lines if line is not None]

    def close(self):
        # A program that was killed leaves the last line unread, which close() tries to send again.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.reader.join(PATIENCE_S)
        self.process.stdout.close()
        self.log.close()


class EmbeddedTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries(), mirror=BLOCK, volumes="")
        self.addCleanup(self.lab.close)
        for node in NODES:
            (self.lab[node].root / "mnt" / "disks").mkdir()
        self.lab.start("witness")
        self.programs = {}

    def tearDown(self):
        for node, program in self.programs.items():
            self.lab[node].kill_daemon()
            program.close()

    def begin(self, name, *nodes):
        for node in nodes or NODES:
            self.programs[node] = Program(self.lab, name, node)

    def kill(self, node):
        self.lab[node].kill_daemon()
        self.programs[node].close()
        return self.programs[node].rest()

    def values(self, program, count):
        """So many numbers that a counter has said."""
        values = []
        while len(values) < count:
            line = program.lines.get(timeout=PATIENCE_S)
            self.assertIsNotNone(line, self.lab.logs())
            if line.isdigit():
                values.append(int(line))
        return values

    def test_a_counter_goes_on_where_it_was(self):
        self.begin("counter")
        serving, other = self.lab.wait_pair()
        said = self.values(self.programs[serving], 100)
        said += [int(line) for line in self.kill(serving) if line.isdigit()]
        self.lab.wait_state(other, "alone")
        said += self.values(self.programs[other], 20)
        self.begin("counter", serving)
        self.lab.wait_pair()
        said += self.values(self.programs[other], 20)

        # In order: nothing is lost, and it says so by its exit status.
        self.programs[other].process.terminate()
        self.assertEqual(self.programs[other].process.wait(PATIENCE_S), 0, self.lab.logs())
        said += [int(line) for line in self.kill(other) if line.isdigit()]
        said += self.values(self.programs[serving], 20)
        self.assertEqual(said, sorted(set(said)), "a number was said twice, or lost")

    def test_the_other_node_may_be_gemeld(self):
        self.begin("counter", "alpha")
        self.lab.start("beta")
        self.assertEqual(self.lab.wait_pair(), ("alpha", "beta"))
        said = self.values(self.programs["alpha"], 50)
        said += [int(line) for line in self.kill("alpha") if line.isdigit()]
        self.lab.wait_state("beta", "alone")
        backing = (self.lab["beta"].root / "mnt" / "disks" / "disk0.img").read_bytes()
        self.assertGreaterEqual(int.from_bytes(backing[:8], "little"), said[-1])
        # And it fills the program's copy, which takes over again.
        self.begin("counter", "alpha")
        self.assertEqual(self.lab.wait_pair(), ("beta", "alpha"))
        self.lab.gemel("beta", "swap", "data")
        self.assertGreater(self.values(self.programs["alpha"], 1)[0], said[-1])

    def write_until_killed(self, node, line_of, after):
        """Sends line_of(0), line_of(1), ... and kills the program while it answers; how many were
        acknowledged, in order."""
        program, acknowledged = self.programs[node], 0
        killer = threading.Thread(target=self.lab[node].kill_daemon)
        while True:
            answer = program.ask(line_of(acknowledged))
            if answer is None:
                break
            self.assertEqual(answer, program.end, self.lab.logs())
            acknowledged += 1
            if acknowledged == after:
                killer.start()
        killer.join()
        program.close()
        self.assertGreaterEqual(acknowledged, after)
        return acknowledged

    def test_a_log_has_every_acknowledged_record(self):
        self.begin("key_value_log")
        serving, other = self.lab.wait_pair()
        self.assertTrue(self.programs[other].ask("size").startswith("error: this node"))
        count = self.write_until_killed(serving, lambda i: f"set key{i} value {i * 7}", 200)
        self.lab.wait_state(other, "alone")
        survivor = self.programs[other]
        for i in range(count):
            self.assertEqual(survivor.ask(f"get key{i}"), f"value {i * 7}")
        self.assertIn(int(survivor.ask("size")), (count, count + 1))
        self.assertEqual(survivor.ask("set key0 again"), "ok")
        self.begin("key_value_log", serving)
        self.lab.wait_pair()
        self.lab.gemel(other, "swap", "data")
        self.lab.wait_state(serving, "primary")
        self.assertEqual(self.programs[serving].ask("get key0"), "again")
        self.assertTrue(survivor.ask("size").startswith("error: this node"))

    def check_database(self, program, rounds, least):
        """Whole and complete: each transaction put the same number into both tables."""
        self.assertEqual(program.ask("PRAGMA integrity_check;"), "ok\ndone", self.lab.logs())
        for table in ("a", "b"):
            answer = program.ask(f"SELECT max(n), count(*) FROM {table} WHERE round = {rounds};")
            highest, count = answer.split("\n")[0].split("|")
            self.assertIn(int(count), (least, least + 1))
            self.assertEqual(int(highest), int(count) - 1)
        difference = ("SELECT count(*) FROM a FULL OUTER JOIN b USING (round, n) "
                      "WHERE a.filler IS NULL OR b.filler IS NULL;")
        self.assertEqual(program.ask(difference), "0\ndone")

    def test_a_database_survives_the_death_of_its_machine(self):
        self.begin("mirrored_sqlite")
        serving, other = self.lab.wait_pair()
        for table in ("a", "b"):
            self.assertEqual(self.programs[serving].ask(
                f"CREATE TABLE {table} (round, n, filler, PRIMARY KEY (round, n));"), "done")
        for number in range(3):
            # Long enough to need several pages and their journal; every 5th takes old ones away.
            def transaction(i, number=number):
                return ("BEGIN; " + " ".join(
                    f"INSERT INTO {table} VALUES ({number}, {i}, hex(randomblob(1500)));"
                    for table in ("a", "b")) +
                    (f" UPDATE a SET filler = hex(randomblob(900)) WHERE n % 5 = {i % 5};"
                     if i % 5 == 0 else "") + " COMMIT;")
            count = self.write_until_killed(serving, transaction, 40 + 7 * number)
            self.lab.wait_state(other, "alone")
            self.check_database(self.programs[other], number, count)
            self.begin("mirrored_sqlite", serving)
            serving, other = other, serving
            self.assertEqual(self.lab.wait_pair(), (serving, other))
        images = [(self.lab[node].root / "mnt" / "disks" / "disk0.img").read_bytes()
                  for node in NODES]
        self.assertTrue(images[0] == images[1], "the copies differ")

    def fails(self, node, config, state):
        machine = self.lab[node]
        done = machine.inside(str(self.lab.binaries / "counter"), str(config), node, str(state),
                              str(machine.run_directory), check=False, timeout=PATIENCE_S)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr

    def test_what_can_not_be_opened_is_told(self):
        config = self.lab.root / "wrong.toml"
        text = self.lab.config.read_text()
        state = self.lab["alpha"].state
        config.write_text(text.replace("[[mirror.data.block]]", 'directories = ["/mnt/data"]\n'
                                       "[[mirror.data.block]]"))
        self.assertIn("need gemeld and its mounts", self.fails("alpha", config, state))
        config.write_text(text.replace('size = "16MiB"', 'size = "16MiB"\nsizes = "3"'))
        self.assertIn("unknown key 'sizes'", self.fails("alpha", config, state))
        self.assertFalse(state.exists(), "something was touched")
        config.write_text(text.replace("10.77.0.1:7800", "10.99.0.1:7800"))
        self.assertIn("can't listen on 10.99.0.1:7800", self.fails("alpha", config, state))
        # That was undone whole: the same state and addresses serve a right configuration.
        self.begin("counter")
        self.lab.wait_pair()
        self.assertIn("another gemeld uses", self.fails("alpha", self.lab.config, state))


if __name__ == "__main__":
    unittest.main(verbosity=2)
