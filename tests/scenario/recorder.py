#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes numbered, checksummed records into a mirrored directory and logs each acknowledgement
outside it; afterwards says whether a survivor holds everything that was acknowledged.

usage: recorder.py write DIRECTORY ACK_LOG    until killed or the directory fails
       recorder.py check DIRECTORY ACK_LOG    exit 1 and a sentence when something is missing

Kinds of record: `a` appended to one file and fsynced, `w` written over in place (write returned),
`f` a new file renamed into place, `d` a file removed."""

import hashlib
import os
import sys

RECORD = 128          # bytes of a record: number, padding, digest
SLOTS = 64            # records written over in place


def record(kind, number):
    head = f"{kind} {number:020} ".encode()
    filler = hashlib.sha256(head).hexdigest().encode()
    return (head + filler * 2)[:RECORD - 1] + b"\n"


def acknowledge(log, kind, number):
    os.write(log, f"{kind} {number}\n".encode())


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


def write(directory, log_path):
    log = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with open(log_path, encoding="ascii") as past:
        number = 1 + max((int(line.split()[1]) for line in past), default=0)
    number += 1000  # records of an unfinished run never have the number of an acknowledged one
    os.makedirs(os.path.join(directory, "files"), exist_ok=True)
    steps = (("a", append), ("w", write_over), ("f", replace))
    while True:
        for kind, step in steps:
            try:
                step(directory, number)
            except OSError as error:
                print(f"stopped at {kind} {number}: {error}")
                return 0
            acknowledge(log, kind, number)
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


def check(directory, log_path):
    newest = {}       # what must be there: place -> number
    appended = set()
    with open(log_path, encoding="ascii") as log:
        for line in log:
            if not line.endswith("\n"):
                continue
            kind, text = line.split()
            number = int(text)
            if kind == "a":
                appended.add(number)
            else:
                newest[kind, number % (SLOTS if kind == "w" else 100)] = number
    problems = []
    data = read(os.path.join(directory, "appended"))
    # A record that was cut short by a crash stands before the next one on the same line.
    found = {number_in(line[1 - RECORD:] + b"\n", "a") for line in data.split(b"\n")}
    missing = sorted(appended - found)
    if missing:
        problems.append(f"{len(missing)} appended records are missing, the first {missing[0]}")
    slots = read(os.path.join(directory, "slots"))
    for (kind, place), number in sorted(newest.items()):
        if kind == "w":
            there = number_in(slots[place << 20:(place << 20) + RECORD], "w")
        else:
            there = number_in(read(os.path.join(directory, "files", str(place))), "f")
        if there < number:   # a later one, unacknowledged, may be there
            problems.append(f"{kind} {place}: {there} instead of {number}")
    for problem in problems[:10]:
        print(problem)
    print(f"{len(appended)} appended, {len(newest)} places checked")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    sys.exit((write if sys.argv[1] == "write" else check)(sys.argv[2], sys.argv[3]))
