#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo's application: keeps entries in an SQLite database of the mirrored directory and answers
on the virtual address. A line "add N" is answered "ok N" once the entry is committed (SQLite syncs
the file before), "count" by the number of entries.

usage: ledger.py DATABASE ADDRESS PORT"""

import socketserver
import sqlite3
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        database = sqlite3.connect(self.server.database, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS entries "
                         "(number INTEGER PRIMARY KEY, text TEXT)")
        for line in self.rfile:
            command, _, number = line.decode().strip().partition(" ")
            if command == "add":
                database.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)",
                                 (int(number), "entry " + number))
                answer = f"ok {number}"
            else:
                answer = str(database.execute("SELECT count(*) FROM entries").fetchone()[0])
            self.wfile.write(answer.encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with Server((sys.argv[2], int(sys.argv[3])), Handler) as server:
        server.database = sys.argv[1]
        server.serve_forever()
