# SPDX-License-Identifier: Apache-2.0
"""An NBD client that speaks the extension of extended headers, which no client of Debian's does,
written to the protocol document and not to the server. One request at a time, but any number may
be sent before the first answer is taken."""

import socket
import struct

READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD = 1, 2, 4, 8, 16, 32
ABORT, LIST, INFO, GO, STRUCTURED, SET_CONTEXTS, EXTENDED = 2, 3, 6, 7, 8, 10, 11
ACK, REPLY_INFO, REPLY_CONTEXT = 1, 3, 4
UNSUPPORTED, POLICY = (1 << 31) + 1, (1 << 31) + 2
DATA, HOLE, EXTENTS, ERROR, ERROR_AT = 1, 2, 6, 0x8001, 0x8002
DONE = 1
REQUEST_MAGIC, CHUNK_MAGIC = 0x21E41C71, 0x6E8A278C
OPTION_REPLY_MAGIC = 0x3E889045565A9
CONTEXTS = ("base:allocation", "gemel:dirty")


class Haggling:
    """A connection during its handshake."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        magic, option_magic, flags = struct.unpack(">8s8sH", self.take(18))
        assert (magic, option_magic, flags) == (b"NBDMAGIC", b"IHAVEOPT", 3)
        self.socket.sendall(struct.pack(">I", 3))

    def take(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("closed by the server")
            data += part
        return data

    def ask(self, option, data=b""):
        """Sends an option; returns the replies up to the last one, (type, data) each."""
        self.socket.sendall(struct.pack(">8sII", b"IHAVEOPT", option, len(data)) + data)
        replies = []
        while True:
            magic, of, kind, size = struct.unpack(">QIII", self.take(20))
            assert (magic, of) == (OPTION_REPLY_MAGIC, option)
            replies.append((kind, self.take(size)))
            if kind == ACK or kind & 1 << 31:
                return replies

    @staticmethod
    def name(text):
        return struct.pack(">I", len(text)) + text.encode()


class ExtendedClient(Haggling):
    """Agrees on extended headers and all contexts."""

    def __init__(self, path, export):
        super().__init__(path)
        assert self.ask(EXTENDED) == [(ACK, b"")]
        queries = b"".join(self.name(context) for context in CONTEXTS)
        *contexts, last = self.ask(SET_CONTEXTS, self.name(export)
                                   + struct.pack(">I", len(CONTEXTS)) + queries)
        assert last[0] == ACK
        self.context_ids = {data[4:].decode(): data[:4] for _, data in contexts}
        self.context_names = {number: name for name, number in self.context_ids.items()}
        *infos, last = self.ask(GO, self.name(export) + struct.pack(">H", 0))
        assert last[0] == ACK
        facts = next(data for kind, data in infos
                     if kind == REPLY_INFO and data[:2] == b"\0\0")
        self.size, self.flags = struct.unpack(">QH", facts[2:])
        self.cookie = 0
        self.answers = {}       # cookie -> the chunks so far, and whether the last one came

    def send(self, command, offset=0, length=0, flags=0, payload=b""):
        """Returns the cookie. A payload's length is the request's."""
        if payload:
            flags, length = flags | PAYLOAD, len(payload)
        self.cookie += 1
        self.answers[self.cookie] = ([], False)
        self.socket.sendall(struct.pack(">IHHQQQ", REQUEST_MAGIC, flags, command, self.cookie,
                                        offset, length) + payload)
        return self.cookie

    def answer(self, cookie):
        """The chunks that answer a request: (type, offset of the request, payload)."""
        while not self.answers[cookie][1]:
            magic, flags, kind, of, offset, size = struct.unpack(">IHHQQQ", self.take(32))
            assert magic == CHUNK_MAGIC, hex(magic)
            chunks, done = self.answers[of]
            assert not done, "more behind the last chunk"
            if kind or size:
                chunks.append((kind, offset, self.take(size)))
            self.answers[of] = (chunks, bool(flags & DONE))
        return self.answers.pop(cookie)[0]

    def error(self, cookie):
        """0 or the number of the error."""
        for kind, _, payload in self.answer(cookie):
            if kind & 0x8000:
                return struct.unpack_from(">I", payload)[0]
        return 0

    def call(self, *request, **more):
        return self.error(self.send(*request, **more))

    def read(self, offset, length, flags=0):
        content = bytearray(length)
        filled = 0
        for kind, _, payload in self.answer(self.send(READ, offset, length, flags)):
            place = struct.unpack_from(">Q", payload)[0] - offset
            assert kind in (DATA, HOLE), kind
            size = len(payload) - 8 if kind == DATA else struct.unpack_from(">I", payload, 8)[0]
            if kind == DATA:
                content[place:place + size] = payload[8:]
            filled += size
        assert filled == length
        return bytes(content)

    def status(self, offset, length, flags=0, contexts=None):
        """Context -> [(length, flags), ...]. With contexts only these are asked for."""
        if contexts is None:
            cookie = self.send(STATUS, offset, length, flags)
        else:
            wanted = b"".join(self.context_ids[name] for name in contexts)
            cookie = self.send(STATUS, offset, 0, flags, struct.pack(">Q", length) + wanted)
        found = {}
        for kind, _, payload in self.answer(cookie):
            assert kind == EXTENTS, kind
            assert struct.unpack_from(">I", payload, 4)[0] * 16 == len(payload) - 8
            found[self.context_names[payload[:4]]] = list(struct.iter_unpack(">QQ", payload[8:]))
        return found

    def close(self):
        self.send(DISCONNECT)
        assert self.socket.recv(1) == b""
        self.socket.close()
