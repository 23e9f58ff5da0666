#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that people use, and the checks of their own testers, against two real nodes: libnbd's
tools, fio, what nbd-tester-client of the nbd package checks, and a client of extended headers.
After each test both copies are equal."""

import contextlib
import filecmp
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools" / "lib")]
import extended_client as nbd  # noqa: E402
from lab import NODES, Lab, default_binaries, run  # noqa: E402

PYTHON = "/usr/bin/python3"     # for which Debian builds libnbd's bindings
PATIENCE_S = 120
MIB = 1 << 20
GIB = 1 << 30
DISK_SIZE = 64 * MIB
WIDE_SIZE = 6 * GIB             # more than 32 bits count
BACKING = 192 * MIB             # the file system that both backings are on
VOLUMES = "".join(f"""
[[mirror.data.block]]
name = "{name}"
backing = "/mnt/disks/{name}.img"
size = "{size // MIB}MiB"
""" for name, size in (("disk0", DISK_SIZE), ("wide", WIDE_SIZE)))
ERROR_INVALID = 22


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"{program} is not installed")


def content_of(path):
    """A digest of what is not zero, and where it is."""
    digest, end = hashlib.sha256(), 0
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        with contextlib.suppress(OSError):      # ENXIO: no data any more
            while end < size:
                begin = file.seek(end, os.SEEK_DATA)
                end = file.seek(begin, os.SEEK_HOLE)
                file.seek(begin)
                for offset in range(begin, end, 65536):
                    block = file.read(min(65536, end - offset))
                    if any(block):
                        digest.update(f"{offset} ".encode() + block)
    return digest.hexdigest()


class GemeldClientsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(default_binaries(), mirror=VOLUMES)
        cls.addClassCleanup(cls.lab.close)
        cls.devices = {}
        for node in NODES:
            cls.make_disk(node)
        cls.lab.start()
        cls.serving, cls.other = cls.lab.wait_pair()

    @classmethod
    def make_disk(cls, node):
        """A file system whose device counts the flushes that it is asked for."""
        image = cls.lab.root / f"{node}.disk"
        with open(image, "wb") as file:
            file.truncate(BACKING)
        run("mkfs.ext4", "-q", "-m", "0", str(image))
        device = run("losetup", "--find", "--show", str(image)).stdout.strip()
        cls.addClassCleanup(run, "losetup", "--detach", device, check=False)
        cls.devices[node] = pathlib.Path("/sys/block") / pathlib.Path(device).name / "stat"
        cls.lab[node].inside("mkdir", "/mnt/disks")
        cls.lab[node].inside("mount", device, "/mnt/disks")

    def setUp(self):
        self.folder = self.lab.root / self.id().rsplit(".", 1)[1]
        self.folder.mkdir()

    def tearDown(self):
        """Both copies hold the same."""
        self.lab.wait_pair()
        for name in ("disk0", "wide"):
            self.assertEqual(*(content_of(self.image(node, name))
                               for node in NODES))

    def image(self, node, name):
        return f"/proc/{self.lab[node].holder.pid}/root/mnt/disks/{name}.img"

    def socket(self, name="disk0", node=None):
        return self.lab[node or self.serving].run_directory / "nbd" / "data" / f"{name}.sock"

    def uri(self, name="disk0", node=None):
        return f"nbd+unix:///{name}?socket={self.socket(name, node)}"

    def client(self, *command, status=0):
        done = run("timeout", str(PATIENCE_S), *map(str, command), check=False, cwd=self.folder)
        self.assertEqual(done.returncode, status, f"{command}: {done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    # --- libnbd ------------------------------------------------------------------------------

    @needs("nbdinfo")
    def test_nbdinfo_and_nbdcopy(self):
        export = json.loads(self.client("nbdinfo", "--json", self.uri()))["exports"][0]
        self.assertEqual((export["export-size"], export["contexts"]),
                         (DISK_SIZE, ["base:allocation", "gemel:dirty"]))
        self.assertTrue(export["can_multi_conn"])
        source = self.folder / "source"
        source.write_bytes(os.urandom(5 * MIB) + bytes(20 * MIB) + os.urandom(MIB))
        self.client("nbdcopy", "--flush", source, self.uri())
        self.client("nbdcopy", self.uri(), "back")
        os.truncate(self.folder / "back", source.stat().st_size)
        self.assertTrue(filecmp.cmp(source, self.folder / "back", shallow=False))
        extents = json.loads(self.client("nbdinfo", "--map", "--json", self.uri()))
        self.assertEqual([e["type"] for e in extents if e["offset"] == 5 * MIB], [3])

    @needs("nbdinfo")
    def test_the_secondary_refuses_with_its_reason(self):
        # libnbd 1.14 says what the server has said only to those who look for mistakes.
        uri = self.uri(node=self.other)
        self.assertIn("secondary", self.client("env", "LIBNBD_DEBUG=1", "nbdinfo", uri, status=1))
        self.assertIn("server policy", self.client("nbdcopy", uri, "-", status=1))
        haggling = nbd.Haggling(self.socket(node=self.other))
        self.assertEqual(haggling.ask(nbd.LIST), [(nbd.ACK, b"")])
        for option in (nbd.INFO, nbd.GO):
            (kind, reason), = haggling.ask(option, haggling.name("disk0") + b"\0\0")
            self.assertEqual(kind, nbd.POLICY)
            self.assertIn(b"secondary", reason)
        haggling.ask(nbd.ABORT)
        haggling.socket.close()

    @needs("nbdfuse")
    @needs("fusermount3")
    def test_nbdfuse(self):
        place = self.folder / "mount"
        place.mkdir()
        fuse = subprocess.Popen(["nbdfuse", place / "disk", self.uri()])
        try:
            self.lab.wait_for(lambda: (place / "disk").exists() or fuse.poll() is not None,
                              PATIENCE_S, lambda: "nbdfuse mounts nothing")
            self.assertEqual((place / "disk").stat().st_size, DISK_SIZE)
            run("mkfs.ext4", "-q", "-F", place / "disk")
            content = os.urandom(300_001)
            with open(place / "disk", "r+b") as file:
                file.seek(40 * MIB + 17)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        finally:
            run("fusermount3", "-u", place, check=False)
            fuse.wait(PATIENCE_S)
        with open(self.folder / "back", "wb") as back:
            subprocess.run(["nbdcopy", self.uri(), "-"], stdout=back, check=True)
        with open(self.folder / "back", "rb") as back:
            back.seek(40 * MIB + 17)
            self.assertEqual(back.read(len(content)), content)
        self.client("dumpe2fs", "-h", "back")

    # --- fio ---------------------------------------------------------------------------------

    @needs("fio")
    def test_fio_verifies(self):
        engines = self.client("fio", "--enghelp")
        if "nbd" not in engines.split():
            self.skipTest("fio has no nbd engine")
        self.client("fio", "--name=verify", "--ioengine=nbd", f"--uri={self.uri()}",
                    "--rw=randrw", "--bs=512-64k", "--iodepth=32", "--size=16m",
                    "--verify=crc32c", "--verify_fatal=1", "--fsync=64", "--randseed=1")

    # --- what nbd-tester-client checks ---------------------------------------------------------

    def test_integrity(self):
        if run(PYTHON, "-c", "import nbd", check=False).returncode:
            self.skipTest("python3-libnbd is not installed")
        with open(self.folder / "zeros", "wb") as zeros:
            zeros.truncate(DISK_SIZE)
        self.client("nbdcopy", "--destination-is-zero", "zeros", self.uri())
        with nbd_client(self.socket(), "disk0") as client:
            self.assertEqual(client.call(nbd.ZERO, 0, DISK_SIZE), 0)
        text = self.client(PYTHON, "-B", HERE / "integrity_client.py", self.uri(), 1, 4000)
        self.assertRegex(text, r"\d+ reads \d+ writes \d+ flushs")

    def test_handshake(self):
        """An option that nobody knows is refused, the session goes on, and ABORT ends it."""
        haggling = nbd.Haggling(self.socket())
        self.assertEqual(haggling.ask(0x7654321, b"\0\0\0\4")[0][0], nbd.UNSUPPORTED)
        listed = haggling.ask(nbd.LIST)
        self.assertTrue(listed[0][1].startswith(nbd.Haggling.name("disk0")))
        self.assertEqual(haggling.ask(nbd.ABORT), [(nbd.ACK, b"")])
        self.assertEqual(haggling.socket.recv(1), b"")
        haggling.socket.close()

    def test_oversized_requests(self):
        """1 MiB, a little more from an odd place, and twice that are answered alike."""
        with nbd_client(self.socket(), "disk0") as client:
            content = os.urandom(3 * MIB)
            self.assertEqual(client.call(nbd.WRITE, 0, payload=content), 0)
            for offset, size in ((0, MIB), (1, MIB + 14), (2, 2 * MIB + 28)):
                self.assertTrue(client.read(offset, size) == content[offset:offset + size])

    # --- extended headers ----------------------------------------------------------------------

    def test_extended_headers(self):
        with nbd_client(self.socket("wide"), "wide") as client:
            self.assertEqual(client.size, WIDE_SIZE)
            content = os.urandom(100_000)
            far = 5 * GIB + 12345
            self.assertEqual(client.call(nbd.WRITE, far, payload=content), 0)
            self.assertEqual(client.call(nbd.WRITE, 0, payload=content, flags=nbd.FUA), 0)
            self.assertEqual(client.read(far - 5, len(content) + 10),
                             bytes(5) + content + bytes(5))
            allocation = client.status(0, WIDE_SIZE)["base:allocation"]
            self.assertEqual(sum(length for length, _ in allocation), WIDE_SIZE)
            self.assertEqual([flags for _, flags in allocation], [0, 3, 0, 3])
            self.assertGreater(allocation[1][0], 4 * GIB)
            self.assertEqual(client.status(0, WIDE_SIZE, contexts=["gemel:dirty"]),
                             {"gemel:dirty": [(WIDE_SIZE, 0)]})
            self.assertEqual(client.call(nbd.WRITE, far, len(content)), ERROR_INVALID)
            self.assertEqual(client.call(nbd.READ, far, 10, payload=b"0123456789"),
                             ERROR_INVALID)
            # More than 4 GiB at once, both ways to make it zero.
            self.assertEqual(client.call(nbd.ZERO, 1 * GIB, 5 * GIB), 0)
            self.assertEqual(client.read(far, len(content)), bytes(len(content)))
            self.assertEqual(client.call(nbd.TRIM, 0, WIDE_SIZE), 0)
            self.assertEqual(client.status(0, WIDE_SIZE),
                             {"base:allocation": [(WIDE_SIZE, 3)],
                              "gemel:dirty": [(WIDE_SIZE, 0)]})

    def test_dirty_context_shows_what_the_peer_lacks(self):
        self.lab[self.other].kill_daemon()
        self.lab.wait_state(self.serving, "alone")
        with nbd_client(self.socket(), "disk0") as client:
            self.assertEqual(client.call(nbd.WRITE, 10 * MIB, payload=b"x" * 4096), 0)
            self.assertEqual(client.status(0, DISK_SIZE)["gemel:dirty"],
                             [(10 * MIB, 0), (4096, 1), (54 * MIB - 4096, 0)])
            self.assertEqual(client.status(10 * MIB, 2 * MIB, nbd.REQ_ONE, ["gemel:dirty"]),
                             {"gemel:dirty": [(4096, 1)]})
            self.lab.start(self.other)
            self.assertEqual(self.lab.wait_pair(), (self.serving, self.other))
            self.assertEqual(client.status(0, DISK_SIZE)["gemel:dirty"], [(DISK_SIZE, 0)])

    # --- many connections ------------------------------------------------------------------------

    def flushes(self, node):
        """Flushes that the disk of the node has completed (Documentation/block/stat.rst)."""
        return int(self.devices[node].read_text(encoding="ascii").split()[15])

    def test_a_flush_covers_what_another_connection_has_written(self):
        """What is written on one connection is flushed on both nodes' disks by another one."""
        with nbd_client(self.socket(), "disk0") as one, \
                nbd_client(self.socket(), "disk0") as two:
            self.assertTrue(one.flags & 1 << 8, "many connections are not offered")
            for number in range(5):
                content = bytes([number + 1]) * 8192
                self.assertEqual(one.call(nbd.WRITE, number * MIB, payload=content), 0)
                self.assertEqual(two.read(number * MIB, 8192), content)
                before = {node: self.flushes(node) for node in NODES}
                self.assertEqual(two.call(nbd.FLUSH), 0)
                for node in NODES:
                    self.assertGreater(self.flushes(node), before[node], node)


class nbd_client:
    """An ExtendedClient that takes its leave at the end of the block."""

    def __init__(self, path, export):
        self.client = nbd.ExtendedClient(path, export)

    def __enter__(self):
        return self.client

    def __exit__(self, kind, *_):
        if kind is None:
            self.client.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
