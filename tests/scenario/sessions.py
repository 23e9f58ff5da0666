# SPDX-License-Identifier: Apache-2.0
"""What the programs that use a mirror in tests share: they work in sessions, and log outside the
mirror what was acknowledged, by which session, and when it was begun and answered.

A session is one process that works relative to the directory it began in, so that all it does goes
over one FUSE connection, which serves one role for one epoch. Whatever two sessions on different
nodes were told can therefore be judged by the order of time alone: both nodes have one clock."""

import collections
import ctypes
import errno
import os
import signal
import sys
import time
import traceback

PR_SET_PDEATHSIG = 1
RETRY_S = 0.03
PACE_S = 0.002        # between two operations: the machine is shared by all nodes

Acknowledged = collections.namedtuple("Acknowledged", "kind number session begun answered")


class Log:
    """Appends to an acknowledgement log."""

    def __init__(self, path, node):
        self.fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.session = f"{node}.{os.getpid()}.{time.monotonic_ns()}"

    def acknowledge(self, kind, number, begun):
        """`begun`: time.monotonic_ns() before the operation was begun."""
        line = f"{kind} {number} {self.session} {begun} {time.monotonic_ns()}\n"
        os.write(self.fd, line.encode())


def read_log(path):
    """Every complete line of a log, in its order."""
    with open(path, encoding="ascii") as log:
        return [parse(line) for line in log if line.endswith("\n")]


def parse(line):
    kind, number, session, begun, answered = line.split()
    return Acknowledged(kind, int(number), session, int(begun), int(answered))


def read_last(path):
    """The last line of a log, or None."""
    with open(path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - 1024))
        lines = log.read().decode("ascii").split("\n")
    return parse(lines[-2]) if len(lines) > 1 else None


def repeat(directory, work):
    """Runs work() in one process after another, for ever, each in `directory` as it is then: on a
    node that does not serve it can't be written to, and the process ends at once. This process
    itself holds nothing there, so that it outlives what gives the volume up."""
    os.chdir("/")
    while True:
        child = os.fork()
        if child == 0:
            run_session(directory, work)
        os.waitpid(child, 0)
        time.sleep(RETRY_S)


def run_session(directory, work):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
        os.close(os.open("probe", os.O_CREAT | os.O_WRONLY))
        work()
    except OSError as error:
        if error.errno != errno.EROFS:   # all the time where it is not served
            print(f"{time.monotonic():.3f} a session has ended: {error}")
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def judge(directory, find_problem, unreadable=OSError):
    """A check's exit status: 0, 1 with what is wrong printed, 2 where the volume can't be read."""
    try:
        os.makedirs(directory, exist_ok=True)
        os.chdir(directory)
        problem = find_problem()
    except unreadable as error:
        print(error)
        return 2
    if problem:
        print(problem)
    return 1 if problem else 0


def node_of(session):
    return session.split(".")[0]


def find_overlap(acknowledged):
    """A sentence when two nodes have acknowledged at once, else None. Had a session of one node
    been answered before an operation of another node's was begun, and that one been answered, then
    nothing begun after this is ever answered in the first session: its connection is an older one.
    """
    sessions = collections.defaultdict(list)
    for entry in acknowledged:
        sessions[entry.session].append(entry)
    for older, its in sessions.items():
        first = min(entry.answered for entry in its)
        for newer, others in sessions.items():
            if node_of(newer) == node_of(older):
                continue
            taken_over = min((e.answered for e in others if e.begun > first), default=None)
            late = [e for e in its if taken_over is not None and e.begun > taken_over]
            if late:
                return (f"two nodes acknowledged at once: {late[0]} was begun after "
                        f"{newer} had been answered at {taken_over}")
    return None


def find_repeated(acknowledged):
    """For clients that number without a gap: a number that was acknowledged twice is a sentence."""
    seen = {}
    for entry in acknowledged:
        before = seen.setdefault(entry.number, entry)
        if before is not entry:
            return f"acknowledged twice: {before} and {entry}"
    return None


def longest_wait_s(acknowledged, since, until, interruptions=()):
    """The longest time between `since` and `until` (ns) without an answer. Of a wait in which the
    client was stopped by the test (`interruptions`: pairs of times) the part before counts."""
    times = sorted(e.answered for e in acknowledged if since < e.answered < until)
    longest = 0
    for begin, end in zip([since, *times], [*times, until]):
        end = min([end, *(at for at, _ in interruptions if begin <= at < end)])
        longest = max(longest, end - begin)
    return longest / 1e9
