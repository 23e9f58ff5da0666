#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""integrity_client.py URI SEED REQUESTS: what nbd-tester-client, the tester of the nbd package that
Debian does not ship, checks of a server, with libnbd on several connections: many requests of any
place and size in flight, none of which overlaps another that could change its outcome, and every
sector that is read holds what was written there last, by number and by place. Flushes and forced
writes in between. Debian's own python3 runs it, for which python3-libnbd is made."""

import random
import struct
import sys

import nbd

SECTOR = 512
CONNECTIONS = 4
DEPTH = 32                  # of each connection
SECTORS_MAX = 256           # of a request
PATIENCE_MS = 120_000


def sector(number, place):
    """What request `number` writes there; 0 is what nobody has written yet."""
    return bytes(SECTOR) if number == 0 else struct.pack("<QQ", number, place) * (SECTOR // 16)


class Replay:
    def __init__(self, uri, seed, requests):
        self.random = random.Random(seed)
        self.connections = []
        for _ in range(CONNECTIONS):
            connection = nbd.NBD()
            connection.connect_uri(uri)
            assert connection.can_multi_conn() and connection.can_flush() and connection.can_fua()
            self.connections.append(connection)
        self.sectors = self.connections[0].get_size() // SECTOR
        self.written = {}       # place -> number of the request that wrote it last
        self.readers = {}       # place -> reads in flight
        self.writers = set()    # places with a write in flight
        self.in_flight = 0
        self.left = requests
        self.number = 0
        self.counts = {"read": 0, "write": 0, "flush": 0}

    def range(self, changes):
        """Places that no request in flight forbids."""
        while True:
            size = self.random.choice((1, 1, 8, self.random.randint(1, SECTORS_MAX)))
            begin = self.random.randrange(self.sectors - size)
            places = range(begin, begin + size)
            if not any(p in self.writers or changes and self.readers.get(p) for p in places):
                return places

    def issue(self, connection):
        self.number += 1
        self.left -= 1
        self.in_flight += 1
        kind = self.random.choices(("read", "write", "flush"), (40, 58, 2))[0]
        self.counts[kind] += 1
        if kind == "flush":
            connection.aio_flush(self.completion(lambda: None))
        elif kind == "write":
            self.write(connection, self.number)
        else:
            self.read(connection)

    def write(self, connection, number):
        places = self.range(True)
        self.writers.update(places)
        data = nbd.Buffer.from_bytearray(bytearray(b"".join(sector(number, p) for p in places)))

        def done():
            self.writers.difference_update(places)
            self.written.update(dict.fromkeys(places, number))

        flags = nbd.CMD_FLAG_FUA if self.random.random() < 0.05 else 0
        connection.aio_pwrite(data, places[0] * SECTOR, self.completion(done), flags=flags)

    def read(self, connection):
        places = self.range(False)
        for place in places:
            self.readers[place] = self.readers.get(place, 0) + 1
        data = nbd.Buffer(len(places) * SECTOR)

        def done():
            content = data.to_bytearray()
            for index, place in enumerate(places):
                self.readers[place] -= 1
                found = content[index * SECTOR:(index + 1) * SECTOR]
                wanted = self.written.get(place, 0)
                if found != sector(wanted, place):
                    sys.exit(f"sector {place} has {struct.unpack_from('<QQ', found)} and should "
                             f"be as request {wanted} has left it")

        connection.aio_pread(data, places[0] * SECTOR, self.completion(done))

    def completion(self, then):
        def completed(error):
            if error.value if hasattr(error, "value") else error:
                sys.exit(f"a request failed: {error}")
            self.in_flight -= 1
            then()
            return 1
        return completed

    def run(self):
        while self.left or self.in_flight:
            for connection in self.connections:
                while self.left and connection.aio_in_flight() < DEPTH:
                    self.issue(connection)
            for connection in self.connections:
                if connection.aio_in_flight():
                    connection.poll(1 if self.left else PATIENCE_MS)
        for connection in self.connections:
            connection.shutdown()
        print(" ".join(f"{count} {kind}s" for kind, count in self.counts.items()))


if __name__ == "__main__":
    Replay(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).run()
