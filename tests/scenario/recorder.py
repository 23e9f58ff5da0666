#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes numbered, checksummed records into a mirrored directory and logs each acknowledgement
outside it; afterwards says whether a survivor holds everything that was acknowledged.

usage: recorder.py write DIRECTORY ACK_LOG [KINDS]   until killed or the directory fails
       recorder.py work DIRECTORY ACK_LOG NODE KINDS        again and again (sessions.py)
       recorder.py check DIRECTORY ACK_LOG    exit 1 and a sentence when something is missing, 2
                                              when the directory cannot be read

Kinds of record: `a` appended to one file and fsynced, `w` written over in place (write returned),
`f` a new file renamed into place, `m` a directory moved to a new name with what is in it, `x` two
files exchanged, `d` a file made and removed. Only `a` is there after a power cut of every node
that held it, and whatever else the harness knows to have been synced since (forget())."""

import ctypes
import hashlib
import os
import sys
import time

from sessions import Log, read_log, repeat

RECORD = 128          # bytes of a record: number, padding, digest
SLOTS = 64            # records written over in place
AT_FDCWD = -100
RENAME_EXCHANGE = 2
LIBC = ctypes.CDLL(None, use_errno=True)


def record(kind, number):
    head = f"{kind} {number:020} ".encode()
    filler = hashlib.sha256(head).hexdigest().encode()
    return (head + filler * 2)[:RECORD - 1] + b"\n"


def append(directory, number):
    fd = os.open(os.path.join(directory, "appended"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(fd, record("a", number))
    os.fsync(fd)
    os.close(fd)


def write_over(directory, number):
    fd = os.open(os.path.join(directory, "slots"), os.O_CREAT | os.O_WRONLY)
    # 1 MiB apart, so that slots lie in different regions.
    os.pwrite(fd, record("w", number), (number % SLOTS) << 20)
    os.close(fd)


def replace(directory, number):
    path = os.path.join(directory, "files", f"{number % 100}")
    fd = os.open(path + ".new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.write(fd, record("f", number))
    os.close(fd)
    os.rename(path + ".new", path)


def move(directory, number):
    parent = os.path.join(directory, "moving")
    if not os.listdir(parent):
        os.mkdir(os.path.join(parent, "0"))
    old = os.path.join(parent, os.listdir(parent)[0])
    inside = os.path.join(old, "inside")
    if number_in(read(inside), "m") != 0:
        with open(inside, "wb") as file:
            file.write(record("m", 0))
    os.rename(old, os.path.join(parent, str(number)))


def exchange(directory, number):
    """The newest record comes to stand in `current` by one rename, the one before in `spare`."""
    paths = [os.path.join(directory, name) for name in ("current", "spare")]
    for path in paths:
        if not os.path.exists(path):
            with open(path, "wb") as file:
                file.write(record("x", 0))
    with open(paths[1], "r+b") as file:
        file.write(record("x", number))
    one, two = (os.fsencode(path) for path in paths)
    if LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def remove(directory, number):
    path = os.path.join(directory, "gone", str(number))
    with open(path, "wb") as file:
        file.write(record("d", number))
    os.unlink(path)


STEPS = (("a", append), ("w", write_over), ("f", replace), ("m", move), ("x", exchange),
         ("d", remove))


def write(directory, log_path, kinds, node=""):
    log = Log(log_path, node)
    number = 1 + max((entry.number for entry in read_log(log_path)), default=0)
    number += 1000  # records of an unfinished run never have the number of an acknowledged one
    try:
        for name in ("files", "moving", "gone"):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
    except OSError as error:
        print(f"stopped before the first record: {error}")
        return 0
    while True:
        for kind, step in STEPS:
            if kind not in kinds:
                continue
            begun = time.monotonic_ns()
            try:
                step(directory, number)
            except OSError as error:
                print(f"stopped at {kind} {number}: {error}")
                return 0
            log.acknowledge(kind, number, begun)
        number += 1


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def number_in(data, kind):
    """The number of an intact record, or -1."""
    try:
        number = int(data[2:22])
    except ValueError:
        return -1
    return number if data == record(kind, number) else -1


def acknowledgements(log_path):
    """Of each kind the numbers that were acknowledged."""
    numbers = {kind: set() for kind, _ in STEPS}
    for entry in read_log(log_path):
        numbers[entry.kind].add(entry.number)
    return numbers


def forget(log_path, since, kinds):
    """After every node that held it has lost its memory: strikes out what need not be there any
    more of what was acknowledged after `since` (ns), when all had been synced; `kinds` were written
    then. What `f` and `x` replace unsynced may be neither old nor new, as on one machine, so they
    begin anew."""
    with open(log_path, encoding="ascii") as log:
        lines = log.readlines()
    anew = set("fx") & set(kinds)
    kept = [line for line in lines if line[0] == "a"
            or line[0] not in anew and int(line.split()[4]) <= since]
    with open(log_path, "w", encoding="ascii") as log:
        log.writelines(kept)


def check_appended(directory, numbers):
    data = read(os.path.join(directory, "appended"))
    # A record that was cut short by a crash stands before the next one on the same line.
    found = {number_in(line[1 - RECORD:] + b"\n", "a") for line in data.split(b"\n")}
    missing = sorted(numbers - found)
    if missing:
        yield f"{len(missing)} appended records are missing, the first {missing[0]}"


def check_places(kind, numbers, places, data_at):
    """The newest record of each place, or a later one that was not acknowledged, is there."""
    newest = {}
    for number in sorted(numbers):
        newest[number % places] = number
    for place, number in sorted(newest.items()):
        there = number_in(data_at(place), kind)
        if there < number:
            yield f"{kind} {place}: {there} instead of {number}"


def check_moved(directory, numbers):
    if not numbers:
        return
    names = os.listdir(os.path.join(directory, "moving"))
    if len(names) != 1:
        yield f"m: one directory was moved about, and there are {names}"
    elif int(names[0]) < max(numbers):
        yield f"m: the directory is at {names[0]} instead of {max(numbers)}"
    elif number_in(read(os.path.join(directory, "moving", names[0], "inside")), "m") != 0:
        yield "m: the moved directory has lost what was in it"


def check_removed(directory, numbers):
    if numbers:
        back = numbers & {int(name) for name in os.listdir(os.path.join(directory, "gone"))}
        if back:
            yield f"{len(back)} removed files are back, the first {min(back)}"


def find_problems(directory, numbers):
    slots = read(os.path.join(directory, "slots"))
    return [
        *check_appended(directory, numbers["a"]),
        *check_places("w", numbers["w"], SLOTS,
                      lambda place: slots[place << 20:(place << 20) + RECORD]),
        *check_places("f", numbers["f"], 100,
                      lambda place: read(os.path.join(directory, "files", str(place)))),
        *check_moved(directory, numbers["m"]),
        *check_places("x", numbers["x"], 1, lambda _: read(os.path.join(directory, "current"))),
        *check_removed(directory, numbers["d"]),
    ]


def check(directory, log_path):
    numbers = acknowledgements(log_path)
    try:
        problems = find_problems(directory, numbers)
    except OSError as error:
        print(error)
        return 2
    for problem in problems[:10]:
        print(problem)
    print("checked " + ", ".join(f"{len(found)} {kind}" for kind, found in numbers.items()))
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(*sys.argv[2:]))
    if len(sys.argv) == 6 and sys.argv[1] == "work":
        repeat(sys.argv[2], lambda: write(".", sys.argv[3], sys.argv[5], sys.argv[4]))
    if len(sys.argv) in (4, 5) and sys.argv[1] == "write":
        sys.exit(write(*sys.argv[2:4], sys.argv[4] if len(sys.argv) == 5 else "awfmxd"))
    sys.exit(__doc__)
