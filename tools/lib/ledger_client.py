#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo's client: adds numbered entries through the virtual address without a pause, comes back
after a failure, and writes one line for each acknowledged entry: the number and the time.

usage: ledger_client.py ADDRESS PORT LOG    until killed"""

import socket
import sys
import time

PATIENCE_S = 0.5


def main():
    address, port, log_path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    number = 1
    with open(log_path, "a", buffering=1, encoding="ascii") as log:
        while True:
            try:
                with socket.create_connection((address, port), timeout=PATIENCE_S) as connection:
                    stream = connection.makefile("rw", encoding="ascii")
                    while True:
                        stream.write(f"add {number}\n")
                        stream.flush()
                        if stream.readline() != f"ok {number}\n":
                            break
                        log.write(f"{number} {time.monotonic()}\n")
                        number += 1
            except OSError:
                time.sleep(0.01)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main()
