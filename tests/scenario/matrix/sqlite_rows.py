#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An SQLite database in a mirrored directory: a row a transaction, with a total in another table.

usage: sqlite_rows.py work DIRECTORY ACK_LOG NODE MODE   until killed
       sqlite_rows.py check DIRECTORY ACK_LOG            exit 1 and a sentence when an acknowledged
                                                         row is missing or the database is damaged

MODE `write`: a write-ahead log; `names`: a rollback journal, made and removed each time. Its
removal is the commit, which only `synchronous=EXTRA` makes durable (FULL may go back by one
transaction after a power cut); with a write-ahead log that is the same as FULL."""

import hashlib
import os
import pathlib
import sqlite3
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from sessions import PACE_S, Log, judge, read_log, repeat  # noqa: E402

FILE = "rows.db"
JOURNALS = {"write": "WAL", "names": "DELETE"}


def text_of(number):
    return hashlib.sha256(b"%d" % number).hexdigest() * 4


def connect():
    database = sqlite3.connect(FILE, timeout=0, isolation_level=None)
    database.execute("PRAGMA synchronous=EXTRA")
    return database


def work(log_path, node, mode):
    database = connect()
    log = Log(log_path, node)
    database.execute(f"PRAGMA journal_mode={JOURNALS[mode]}")
    database.execute("CREATE TABLE IF NOT EXISTS rows(id INTEGER PRIMARY KEY, text TEXT)")
    database.execute("CREATE INDEX IF NOT EXISTS by_text ON rows(text)")
    database.execute("CREATE TABLE IF NOT EXISTS total(one INTEGER PRIMARY KEY, count INTEGER)")
    database.execute("INSERT OR IGNORE INTO total VALUES(1, 0)")
    (number,) = database.execute("SELECT coalesce(max(id), 0) FROM rows").fetchone()
    while True:
        number += 1
        begun = time.monotonic_ns()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO rows VALUES(?, ?)", (number, text_of(number)))
        database.execute("UPDATE total SET count = count + 1")
        database.execute("COMMIT")
        log.acknowledge("row", number, begun)
        time.sleep(PACE_S)


def find_problem(log_path):
    acknowledged = {entry.number for entry in read_log(log_path)}
    if not acknowledged and not os.path.exists(FILE):
        return None
    database = connect()
    (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        return f"SQLite finds damage: {verdict}"
    if not acknowledged:
        return None
    rows = dict(database.execute("SELECT id, text FROM rows"))
    missing = sorted(acknowledged - rows.keys())
    if missing:
        return f"{len(missing)} rows are missing, the first {missing[0]}; the last is {max(rows)}"
    altered = [number for number, text in rows.items() if text != text_of(number)]
    if altered:
        return f"row {altered[0]} has another text"
    (count,) = database.execute("SELECT count FROM total").fetchone()
    if count != len(rows):
        return f"the total is {count}, and there are {len(rows)} rows"
    print(f"checked: {len(acknowledged)} rows of {len(rows)}")
    return None


def find_problem_or_damage(log_path):
    try:
        return find_problem(log_path)
    except sqlite3.OperationalError:
        raise   # not damage: it can't be read now
    except sqlite3.DatabaseError as error:
        return f"SQLite finds damage: {error}"


def check(directory, log_path):
    return judge(directory, lambda: find_problem_or_damage(log_path),
                 (OSError, sqlite3.OperationalError))


if __name__ == "__main__":
    if len(sys.argv) == 6 and sys.argv[1] == "work":
        repeat(sys.argv[2], lambda: work(*sys.argv[3:]))
    if len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(check(*sys.argv[2:]))
    sys.exit(__doc__)
