# SPDX-License-Identifier: Apache-2.0
"""What a stranger can say to gemel's ports: frames of docs/wire.md, made without gemel's code, so
that their checksums are right and their content is whatever a test likes."""

import ctypes
import os
import struct

MAGIC = b"gemelfrm"
HELLO, PROOF, REFUSE = 1, 2, 3
HELLO_MAGIC = 0x6C686C656D656731
HEADER_SIZE = 64
CHALLENGE_SIZE = 32

_XXHASH = ctypes.CDLL("libxxhash.so.0")
_XXHASH.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_XXHASH.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def checksum(data, seed):
    return _XXHASH.XXH3_64bits_withSeed(data, len(data), seed)


def frame(kind, payload=b"", *, version=0, flags=0, number=0, session=0, body_size=None,
          plain_size=None, head_size=0):
    """One frame; sizes that are given are announced instead of the true ones."""
    magic = int.from_bytes(MAGIC, "little")
    size = len(payload)
    head = MAGIC + struct.pack("<HBBIIIQQQQ", version, kind, flags,
                               size if body_size is None else body_size,
                               size if plain_size is None else plain_size, head_size, number,
                               session, checksum(payload, checksum(b"", magic)), 0)
    return head + struct.pack("<Q", checksum(head, magic)) + payload


def hello(low=1, high=1, challenge=None):
    return frame(HELLO, struct.pack("<QHH", HELLO_MAGIC, low, high) +
                 (challenge or os.urandom(CHALLENGE_SIZE)))


def proof(number=1, mac=None):
    """Names that are right, and a proof of a key that is not."""
    facts = struct.pack("<B", 1)
    for name in (b"lab", b"alpha", b"data"):
        facts += struct.pack("<I", len(name)) + name
    return frame(PROOF, facts + (mac or os.urandom(32)), number=number)
