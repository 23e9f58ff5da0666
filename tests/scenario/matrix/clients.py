# SPDX-License-Identifier: Apache-2.0
"""The clients of the matrix, as the harness sees them: a program on each node that works through
the mount where it can be written to, a log of what was acknowledged, and a check of whether it is
there. Programs: recorder.py, bank.py, sqlite_rows.py, postgres.py."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parents[2] / "tools" / "lib"))
import recorder  # noqa: E402
import unpacked  # noqa: E402
from lab import DATA_PATH, NODES  # noqa: E402
from sessions import read_last, read_log  # noqa: E402

PYTHON = "/usr/bin/python3"
PATIENCE_S = 60
LOG_MAX = 4 << 20    # bytes; then it begins anew, in another directory


def is_alive(group):
    """Whether a process of the group is more than a zombie, for which its new parent may take its
    time."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = stat.read_text("ascii", "replace").rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                return True
    return False


class Client:
    NAME = ""
    PROGRAM = HERE
    MODES = ("write", "names")
    NUMBERS_ARE_DENSE = True     # each is given once, wherever it is served

    def __init__(self, lab):
        self.lab = lab
        self.generation = 0
        self.log = lab.root / f"{self.NAME}.acknowledged"
        self.output = lab.root / f"{self.NAME}.output"
        self.log.touch()
        self.mode = None         # of the present work
        self.processes = {node: [] for node in NODES}
        self.environment = dict(os.environ)

    @property
    def directory(self):
        return os.path.join(DATA_PATH, f"{self.NAME}{self.generation}")

    def prepare(self, serving):
        """Before a round. What nobody looks at any more is removed."""
        if self.log.stat().st_size > LOG_MAX:
            self.lab[serving].inside("rm", "-r", self.directory)
            self.generation += 1
            self.log.write_text("", "ascii")

    def acknowledged(self, since=0):
        """Everything, or what was begun after `since`."""
        return [entry for entry in read_log(self.log) if entry.begun > since]

    # --- Work ---------------------------------------------------------------------------------

    def begin(self, mode, waits=True):
        """On both nodes, of which one lets it; waits until something was acknowledged."""
        self.mode = mode
        since = time.monotonic_ns()
        for node in NODES:
            self.begin_on(node)
        if waits:
            self.wait_for_answer(since)

    def begin_on(self, node):
        if self.mode is not None:
            self.spawn_on(node, PYTHON, "-B", str(self.PROGRAM), "work", self.directory,
                          str(self.log), node, self._mode_argument())

    def _mode_argument(self):
        return self.mode

    def spawn_on(self, node, *command):
        with open(self.output, "ab") as output:
            self.processes[node].append(self.lab[node].spawn(
                *command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=self.environment, start_new_session=True))

    def wait_for_answer(self, since):
        def is_answered():
            last = read_last(self.log)
            return last is not None and last.begun > since
        self.lab.wait_for(is_answered, PATIENCE_S,
                          lambda: f"{self.NAME} does not go on: {self.last_output()}")

    def last_output(self):
        return self.output.read_text("utf-8", "replace")[-2000:] if self.output.exists() else ""

    def end_on(self, node):
        """Nothing of it is left afterwards, so whatever waits for gemeld there has to be answered.
        """
        for process in self.processes[node]:
            os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes[node]:
            process.wait()
            self.lab.wait_for(lambda group=process.pid: not is_alive(group), PATIENCE_S,
                              lambda: f"{self.NAME} on {node} can't be ended")
        self.processes[node] = []

    def end(self):
        self.mode = None
        for node in NODES:
            self.end_on(node)

    # --- What is there ------------------------------------------------------------------------

    def check_on(self, node):
        """As subprocess.run: 0, 1 with what is missing, or 2 where the volume can't be read. The
        program must not run there."""
        return self.lab[node].inside(PYTHON, "-B", str(self.PROGRAM), "check", self.directory,
                                     str(self.log), check=False, env=self.environment)

    def forget(self, since):
        """Every node that held it has lost its memory; at `since` all had been synced. Nothing
        changes for a client that syncs before it logs."""


class Recorder(Client):
    NAME = "recorder"
    PROGRAM = HERE.parent / "recorder.py"
    MODES = ("write", "names", "both")
    KINDS = {"write": "aw", "names": "fmxd", "both": "awfmxd"}
    NUMBERS_ARE_DENSE = False

    def _mode_argument(self):
        return self.KINDS[self.mode]

    def forget(self, since):
        recorder.forget(self.log, since, "awfmxd")


class Bank(Client):
    NAME = "bank"
    PROGRAM = HERE / "bank.py"


class SqliteRows(Client):
    NAME = "sqlite"
    PROGRAM = HERE / "sqlite_rows.py"


class Postgres(Client):
    """Its packages are seen at ROOT in both nodes, where the server may read them as nobody."""

    NAME = "postgres"
    PROGRAM = HERE / "postgres.py"
    ROOT = "/srv"

    def __init__(self, lab):
        super().__init__(lab)
        self.environment["GEMEL_POSTGRES"] = self.ROOT
        for node in NODES:
            lab[node].inside("mount", "--bind", str(unpacked.unpacked("postgres")), self.ROOT)
        self.is_created = False

    def prepare(self, serving):
        """One cluster for all rounds."""
        if not self.is_created:
            self.lab[serving].inside(PYTHON, "-B", str(self.PROGRAM), "create", self.directory,
                                     env=self.environment)
            self.is_created = True


CLIENTS = {client.NAME: client for client in (Recorder, Bank, SqliteRows, Postgres)}
