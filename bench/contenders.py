# SPDX-License-Identifier: Apache-2.0
"""What is measured against what: each is a directory of the same file system, and a way to run the
load generator where that directory is seen."""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
for library in (ROOT / "tools" / "lib", ROOT / "lib"):      # source tree, installation
    sys.path.insert(0, str(library))
from lab import DATA_PATH, Lab  # noqa: E402

LOAD_TIMEOUT_S = 1800
SYNC_TIMEOUT_S = 120


def clean_up_when_terminated():
    """SIGTERM ends the program as an error does: with nodes, mounts and files removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


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


class Gemel(Contender):
    """Two nodes and a witness; the load runs on the serving node."""

    name = "gemel"

    def __init__(self, binaries, base):
        with contextlib.ExitStack() as undo:
            self.lab = undo.enter_context(Lab(binaries, directory=base))
            self.lab.start()
            self.serving, self.other = self.lab.wait_pair(SYNC_TIMEOUT_S)
            undo.pop_all()
        super().__init__(binaries, self.lab[self.serving].prefix(), DATA_PATH)

    def load(self, arguments):
        with self.lab.explained():
            return super().load(arguments)

    def memory(self):
        return {node: resident(self.lab[node].daemon.pid) for node in (self.serving, self.other)}

    def close(self):
        self.lab.close()


def resident(pid):
    """Resident memory of a process now (VmRSS) and at most (VmHWM), in bytes."""
    fields = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            key, _, value = line.partition(":")
            fields[key] = value.split()
    return {key: int(fields[key][0]) * 1024 for key in ("VmRSS", "VmHWM")}
