# SPDX-License-Identifier: Apache-2.0
"""What is measured against what: each is a directory of the same file system, and a way to run the
load generator where that directory is seen."""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
for library in (ROOT / "tools" / "lib", ROOT / "lib"):      # source tree, installation
    sys.path.insert(0, str(library))
from lab import DATA_PATH, Lab  # noqa: E402

LOAD_TIMEOUT_S = 1800
SYNC_TIMEOUT_S = 120
ANSWER_PORT = 7990


def clean_up_when_terminated():
    """SIGTERM ends the program as an error does: with nodes, mounts and files removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


def spread_directories(base):
    """Has ext4 place each contender's directory in another part of the disk. Where many inodes have
    just been removed, by an earlier run or by another contender, it takes up to a millisecond to
    make one; that would measure what was there before. Others have no such attribute."""
    subprocess.run(["chattr", "+T", str(base)], check=False, stderr=subprocess.DEVNULL)


class Contender:
    """`prefix` is what a command is run with to see `directory`."""

    name = ""

    def __init__(self, binaries, prefix, directory):
        self.bench = str(pathlib.Path(binaries) / "gemel-bench")
        self.prefix = prefix
        self.directory = directory

    def load(self, arguments):
        """The result of `gemel-bench load`, as its JSON says it."""
        return self.result_of(self.start(arguments, self.directory), arguments)

    def start(self, arguments, directory):
        command = [*self.prefix, self.bench, "load", *arguments, "--json", "--dir", directory]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result_of(self, process, arguments):
        try:
            output, errors = process.communicate(timeout=LOAD_TIMEOUT_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(arguments)}: {errors.strip()}")
        return json.loads(output)

    def close(self):
        """Ends what it started."""


class Bare(Contender):
    """The file system itself."""

    name = "bare"

    def __init__(self, binaries, base):
        directory = base / "bare"
        directory.mkdir()
        super().__init__(binaries, [], str(directory))


class BareTwice(Contender):
    """The file system itself, where the same is done in two directories at once: what a mirror
    could reach at most whose two copies lie on this one disk."""

    name = "bare twice"

    def __init__(self, binaries, base):
        self.directories = [base / "twice-1", base / "twice-2"]
        for directory in self.directories:
            directory.mkdir()
        super().__init__(binaries, [], str(self.directories[0]))

    def load(self, arguments):
        """Of the two the slower one: an operation of a mirror is over when both copies have it."""
        processes = [self.start(arguments, str(directory)) for directory in self.directories]
        results = [self.result_of(process, arguments) for process in processes]
        return max(results, key=lambda result: result["seconds"] / result["count"])


class Nodes:
    """Two gemel nodes and a witness, started and synchronised. `prepare(lab)` is called before."""

    def __init__(self, binaries, base, mirror="", prepare=lambda lab: None):
        self.bench = str(pathlib.Path(binaries) / "gemel-bench")
        with contextlib.ExitStack() as undo:
            self.lab = undo.enter_context(Lab(binaries, directory=base, mirror=mirror))
            prepare(self.lab)
            self.lab.start()
            self.serving, self.other = self.lab.wait_pair(SYNC_TIMEOUT_S)
            undo.pop_all()

    def limits(self, base):
        """What the machine can do: over the link between the two nodes, and on the disk."""
        answerer = self.lab[self.other].spawn(self.bench, "limits", "--answer",
                                              f"0.0.0.0:{ANSWER_PORT}")
        try:
            address = self.lab.address(self.other)
            ask = [*self.lab[self.serving].prefix(), self.bench, "limits", "--json", "--dir",
                   str(base), "--ask", f"{address}:{ANSWER_PORT}"]
            for _ in range(50):
                done = subprocess.run(ask, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    return json.loads(done.stdout)
                time.sleep(0.1)         # it does not listen yet
            raise RuntimeError(done.stderr)
        finally:
            answerer.kill()
            answerer.wait()

    def memory(self):
        return {node: resident(self.lab[node].daemon.pid) for node in (self.serving, self.other)}

    def close(self):
        self.lab.close()


class Gemel(Contender):
    """The load runs on the serving node, in its mount."""

    name = "gemel"

    def __init__(self, binaries, base):
        self.nodes = Nodes(binaries, base)
        super().__init__(binaries, self.nodes.lab[self.nodes.serving].prefix(), DATA_PATH)

    def load(self, arguments):
        with self.nodes.lab.explained():
            return super().load(arguments)

    def close(self):
        self.nodes.close()


def resident(pid):
    """Resident memory of a process now (VmRSS) and at most (VmHWM), in bytes."""
    fields = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            key, _, value = line.partition(":")
            fields[key] = value.split()
    return {key: int(fields[key][0]) * 1024 for key in ("VmRSS", "VmHWM")}
