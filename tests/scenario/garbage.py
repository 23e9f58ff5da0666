#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sends garbage to gemel's ports and says what became of it; garbage_test.py runs it inside a node.

usage: garbage.py tcp|unix|udp PLACE SEED ROUNDS [RECORDED]
       garbage.py record PORT FILE               until killed: what goes to PORT on this node

PLACE is address:port or a path. RECORDED is a file of conversations and datagrams (JSON lines) that
were overheard, to be replayed. Exit status 1: a connection was answered with more than a stranger
may see, or was not closed."""

import json
import pathlib
import random
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import stranger  # noqa: E402

PATIENCE_S = 30           # the handshake has a limit of 5 s
SILENT = 150              # connections at a time that never speak
ANSWER_MAX = 16 * 1024    # of a stranger's conversation; an HTTP answer is the largest


def connect(place):
    if place.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_S)
        connection.connect(place)
        return connection
    host, port = place.rsplit(":", 1)
    return socket.create_connection((host, int(port)), PATIENCE_S)


def connect_patiently(place):
    """The queue of a local socket may be full of those before."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return connect(place)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def converse(place, data, hang_up):
    """Sends `data`; returns what came back until the other side closed, None when it never did."""
    answer = b""
    with connect_patiently(place) as connection:
        try:
            connection.sendall(data)
            if hang_up:
                return answer
            while chunk := connection.recv(65536):
                answer += chunk
        except socket.timeout:
            return None
        except OSError:
            pass   # reset: closed as well
    return answer


def frames(chance):
    """One conversation each, and whether the other side has a reason to close it at once."""
    huge = 0xFFFFFFFF
    noise = chance.randbytes(chance.randrange(1, 5000))
    return [
        noise,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        stranger.MAGIC + noise,
        stranger.frame(stranger.HELLO, body_size=huge, plain_size=huge),
        stranger.frame(stranger.HELLO, body_size=4097, plain_size=4097),
        stranger.frame(stranger.HELLO, noise[:100], body_size=100, plain_size=huge),
        stranger.frame(stranger.HELLO, noise[:100], head_size=huge),
        stranger.frame(stranger.HELLO, noise[:chance.randrange(0, 60)]),
        stranger.frame(21, noise, version=1),
        stranger.frame(stranger.HELLO, noise[:50], flags=1),
        stranger.hello(9, 9),
        stranger.hello(2, 1),
        stranger.hello() + stranger.proof(),
        stranger.hello() + stranger.hello(),
        stranger.hello() + noise,
        stranger.hello() + stranger.frame(stranger.PROOF, noise[:10], number=1),
        stranger.hello() + stranger.frame(stranger.REFUSE, b"\x01\x01\x00\x01\x00", number=1),
        stranger.frame(stranger.REFUSE, b"\xff"),
    ]


def attack_stream(place, chance, rounds, recorded):
    problems = []
    for _ in range(rounds):
        conversations = frames(chance) + recorded
        chance.shuffle(conversations)
        for data in conversations:
            cut = data[:chance.randrange(1, len(data) + 1)] if chance.random() < 0.3 else data
            answer = converse(place, cut, hang_up=cut is not data)
            if answer is None:
                problems.append(f"not closed after {data[:80].hex()}")
            elif len(answer) > 1000:
                problems.append(f"answered with {len(answer)} bytes: {answer[:80]!r}")
    return problems


def stay_silent(place):
    """Many connections that never speak, or stop in the middle of a word."""
    silent = []
    for number in range(SILENT):
        try:
            connection = connect(place)
            if number % 3 == 1:
                connection.sendall(stranger.hello())
            elif number % 3 == 2:
                connection.sendall(stranger.hello()[:number % stranger.HEADER_SIZE])
            silent.append(connection)
        except OSError:
            continue   # turned away: just as well
    return silent


def wait_closed(silent):
    problems = []
    end = time.monotonic() + PATIENCE_S
    for connection in silent:
        connection.settimeout(max(0.01, end - time.monotonic()))
        try:
            while connection.recv(4096):
                pass
        except socket.timeout:
            problems.append("a connection that never spoke was not closed")
        except OSError:
            pass
        connection.close()
    return problems[:3]


def attack_http(place, chance, rounds):
    """The control socket: root's own, but no word on it may hurt. Who says nothing may stay."""
    problems = []
    for _ in range(rounds):
        for data in (
                chance.randbytes(3000),
                b"GET /v1/status HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
                b"POST /v1/mirrors/data/stop HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{",
                b"POST /v1/mirrors/" + b"%ff" * 2000 + b"/stop HTTP/1.1\r\nHost: x\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n",
                b"POST /v1/mirrors/data/swop HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                b"Connection: close\r\n\r\n{}",
                b"POST /v1/mirrors/data/promote HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                b"Connection: close\r\n\r\n[1]",
                b"DELETE /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                b"GET /v1/events?since=-1&wait=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            answer = converse(place, data, hang_up=b"Connection: close" not in data)
            if answer is None or len(answer) > ANSWER_MAX:
                problems.append(f"no end of {data[:60]!r}")
            elif answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")):
                problems.append(f"{data[:60]!r} was answered {answer[:60]!r}")
    return problems


def attack_datagrams(place, chance, rounds, recorded):
    host, port = place.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(rounds * 20):
            for data in (b"", chance.randbytes(chance.randrange(1, 1400)),
                         chance.randbytes(60_000), *recorded):
                changed = bytearray(data)
                if data in recorded and chance.random() < 0.5:
                    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
                sender.sendto(bytes(changed), (host, int(port)))
    return []


def overhear(port, path):
    """Payloads that go to `port`: a line for each stream and each datagram."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    streams = {}
    with open(path, "w", encoding="ascii") as out:
        while True:
            packet = tap.recv(1 << 17)[14:]
            size = (packet[0] & 15) * 4
            packet, protocol = packet[:struct.unpack(">H", packet[2:4])[0]], packet[9]
            source, target = struct.unpack(">HH", packet[size:size + 4])
            if target != port:
                continue
            if protocol == 17:
                out.write(json.dumps({"datagram": packet[size + 8:].hex()}) + "\n")
            elif protocol == 6:
                data = packet[size + (packet[size + 12] >> 4) * 4:]
                # The first of a stream is its hello, the second its proof.
                said = streams.setdefault((packet[12:16], source), [])
                if data and len(said) < 2:
                    said.append(data)
                    if len(said) == 2:
                        out.write(json.dumps({"stream": b"".join(said).hex()}) + "\n")
            out.flush()


def load(path, kind):
    with open(path, encoding="ascii") as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    return [bytes.fromhex(line[kind]) for line in lines if kind in line][:10]


def main():
    if sys.argv[1] == "record":
        return overhear(int(sys.argv[2]), sys.argv[3])
    kind, place, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)
    if kind == "udp":
        problems = attack_datagrams(place, chance, rounds, load(sys.argv[5], "datagram"))
    elif kind == "unix":
        silent = stay_silent(place)
        for connection in silent:
            connection.close()
        problems = attack_http(place, chance, rounds)
    else:
        silent = stay_silent(place)
        problems = attack_stream(place, chance, rounds, load(sys.argv[5], "stream"))
        problems += wait_closed(silent)
    print("\n".join(problems[:10]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
