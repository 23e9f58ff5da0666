#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The NBD server over memory (nbd_test_server.cpp), used by the clients that people use: libnbd's
tools, qemu's and fio. What each reads back must be what it wrote, also through a time in which the
export is refused, and the server must end with nothing in flight."""

import filecmp
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

SERVER = pathlib.Path(os.environ["GEMEL_BIN"]) / "nbd_test_server"
PATIENCE_S = 300
MIB = 1024 * 1024


def needs(program):
    return unittest.skipUnless(shutil.which(program), f"{program} is not installed")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ClientsTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gemel-nbd-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = free_port()
        self.log = open(self.folder / "log", "w+", encoding="utf-8")
        self.addCleanup(self.log.close)
        self.server = subprocess.Popen(
            [SERVER, self.folder, f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE,
            stderr=self.log, text=True)
        self.assertEqual(self.server.stdout.readline(), "ready\n")

    def tearDown(self):
        self.server.stdout.close()
        self.server.terminate()
        status = self.server.wait(PATIENCE_S)
        self.log.seek(0)
        self.assertEqual(status, 0, self.log.read())

    def path(self, name):
        return self.folder / f"{name}.sock"

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.path(name)}"

    def run_client(self, *command, status=0):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False, cwd=self.folder)
        self.assertEqual(done.returncode, status, f"{command}: {done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def make_file(self, name, parts):
        """A file of (size, is_data) parts; what is no data is a hole."""
        path = self.folder / name
        with open(path, "wb") as file:
            for size, is_data in parts:
                if is_data:
                    file.write(os.urandom(size))
                else:
                    file.seek(size, os.SEEK_CUR)
            file.truncate()
        return path


@needs("nbdinfo")
class LibnbdTest(ClientsTest):
    def test_info_shows_the_export(self):
        info = json.loads(self.run_client("nbdinfo", "--json", self.uri("disk")))
        self.assertTrue(info["structured"])
        export = info["exports"][0]
        self.assertEqual(export["export-size"], 1024 * MIB)
        self.assertEqual(export["description"], "memory disk")
        self.assertEqual(export["contexts"], ["base:allocation", "gemel:dirty"])
        for ability in ("cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero"):
            self.assertTrue(export[f"can_{ability}"], ability)
        self.assertEqual(
            [export[f"block_size_{which}"] for which in ("minimum", "preferred", "maximum")],
            [512, 4096, 32 * MIB])

    def test_default_name_and_list(self):
        size = self.run_client("nbdinfo", "--size", f"nbd+unix:///?socket={self.path('coarse')}")
        self.assertEqual(int(size), 64 * MIB)
        listed = self.run_client("nbdinfo", "--list", "--json", f"nbd://127.0.0.1:{self.port}")
        names = [export["export-name"] for export in json.loads(listed)["exports"]]
        self.assertEqual(names, ["disk", "coarse", "fixed"])

    def test_a_refused_export_says_why(self):
        self.run_client("nbdinfo", self.uri("refused"), status=1)
        self.run_client("nbdcopy", self.uri("refused"), "-", status=1)

    def test_copies_are_exact(self):
        source = self.make_file("source", [(MIB, True), (40 * MIB, False), (30 * MIB, True)])
        for name, options in (("disk", []), ("coarse", ["--request-size=65536"])):
            part = source if name == "disk" else self.make_file("small", [(8 * MIB, True)])
            back = self.folder / "back"
            self.run_client("nbdcopy", "--flush", *options, part, self.uri(name))
            self.run_client("nbdcopy", *options, self.uri(name), back)
            os.truncate(back, part.stat().st_size)
            self.assertTrue(filecmp.cmp(part, back, shallow=False), name)
            back.unlink()

    def test_copies_with_one_connection_and_one_request_are_exact(self):
        source = self.make_file("source", [(5 * MIB, True)])
        back = self.folder / "back"
        self.run_client("nbdcopy", "--synchronous", source, self.uri("disk"))
        self.run_client("nbdcopy", "--connections=1", "--requests=1", self.uri("disk"), back)
        os.truncate(back, 5 * MIB)
        self.assertTrue(filecmp.cmp(source, back, shallow=False))

    def test_map_shows_data_and_holes(self):
        source = self.make_file("source", [(MIB, True)])
        self.run_client("nbdcopy", source, self.uri("disk"))
        extents = json.loads(self.run_client("nbdinfo", "--map", "--json", self.uri("disk")))
        self.assertEqual([(e["offset"], e["length"], e["type"]) for e in extents],
                         [(0, MIB, 0), (MIB, 1023 * MIB, 3)])
        dirty = json.loads(
            self.run_client("nbdinfo", "--map=gemel:dirty", "--json", self.uri("disk")))
        self.assertEqual(dirty[0]["length"], MIB)
        self.assertEqual(dirty[0]["type"], 1)

    def test_a_new_client_goes_on_after_a_time_of_refusal(self):
        source = self.make_file("source", [(5 * MIB, True)])
        self.run_client("nbdcopy", "--flush", source, self.uri("disk"))
        self.server.send_signal(signal.SIGHUP)
        self.wait_until(lambda: self.size_status() != 0)
        self.server.send_signal(signal.SIGUSR1)
        self.wait_until(lambda: self.size_status() == 0)
        back = self.folder / "back"
        self.run_client("nbdcopy", self.uri("disk"), back)
        os.truncate(back, 5 * MIB)
        self.assertTrue(filecmp.cmp(source, back, shallow=False))

    def size_status(self):
        return subprocess.run(["nbdinfo", "--size", self.uri("disk")], capture_output=True,
                              timeout=PATIENCE_S, check=False).returncode

    def wait_until(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not condition():
            self.assertLess(time.monotonic(), end, "what the test waits for does not happen")
            time.sleep(0.05)


@needs("qemu-io")
class QemuTest(ClientsTest):
    def qemu_io(self, target, *commands, status=0):
        words = [word for command in commands for word in ("-c", command)]
        text = self.run_client("qemu-io", "-f", "raw", *words, target, status=status)
        self.assertNotIn("verification failed", text)
        return text

    def test_img_info_and_compare(self):
        self.assertIn("1 GiB", self.run_client("qemu-img", "info", self.uri("disk")))
        source = self.make_file("source", [(MIB, True), (2 * MIB, False), (MIB, True)])
        self.run_client("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source,
                        self.uri("disk"))
        self.assertIn("identical", self.run_client(
            "qemu-img", "compare", "-f", "raw", "-F", "raw", source, self.uri("disk")))

    def test_io_reads_what_it_wrote(self):
        self.qemu_io(
            self.uri("disk"), "write -P 0x5a 1M 3M", "write -z 2M 1M", "write -zu 3M 64k",
            "write -f -P 7 512 512", "flush", "discard 8M 4M", "read -P 0x5a 1M 1M",
            "read -P 0 2M 1088k", "read -P 0x5a 3136k 960k", "read -P 7 512 512", "read -P 0 0 512")

    def test_unaligned_io_on_coarse_blocks(self):
        """qemu keeps to the minimum block of 4096 by itself: it reads, changes and writes."""
        self.qemu_io(self.uri("coarse"), "write -P 1 0 64k", "write -P 2 512 1024",
                     "read -P 1 0 512", "read -P 2 512 1024", "read -P 1 1536 512")

    def test_a_read_only_export_is_not_written(self):
        self.qemu_io(self.uri("fixed"), "write 0 512", status=1)

    def test_many_requests_at_once(self):
        commands = [f"aio_write -P {number + 1} {number}M 1M" for number in range(32)]
        self.qemu_io(self.uri("disk"), *commands, "aio_flush")
        self.qemu_io(self.uri("disk"),
                     *[f"read -P {number + 1} {number}M 1M" for number in range(32)])

    def test_a_client_that_reconnects_sees_no_error(self):
        """Dropped again and again, with requests in flight, that are sent again then."""
        target = (f"driver=nbd,reconnect-delay=60,export=disk,server.type=unix,"
                  f"server.path={self.path('disk')}")
        client = subprocess.Popen(["qemu-io", "--image-opts", target], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        client.stdin.write("write -P 200 0 1M\n")
        client.stdin.flush()
        while "ops/sec" not in client.stdout.readline():
            self.assertIsNone(client.poll())
        for round_number in range(1, 4):
            self.server.send_signal(signal.SIGHUP)
            client.stdin.write(f"aio_write -P {round_number} {round_number}M 1M\n")
            client.stdin.flush()
            time.sleep(0.3)
            self.server.send_signal(signal.SIGUSR1)
            client.stdin.write("aio_flush\n")
            client.stdin.flush()
        checks = "".join(f"read -P {number} {number}M 1M\n" for number in range(1, 4))
        text, _ = client.communicate(checks + "read -P 200 0 1M\nquit\n", timeout=PATIENCE_S)
        self.assertEqual(client.returncode, 0, text)
        self.assertNotIn("rror", text)
        self.assertNotIn("failed", text)
        self.assertEqual(text.count("read 1048576/1048576"), 4, text)


@needs("fio")
class FioTest(ClientsTest):
    @classmethod
    def setUpClass(cls):
        engines = subprocess.run(["fio", "--enghelp"], capture_output=True, text=True, check=False)
        if "nbd" not in engines.stdout.split():
            raise unittest.SkipTest("fio has no nbd engine")

    def test_random_writes_verify(self):
        text = self.run_client(
            "fio", "--name=verify", "--ioengine=nbd", f"--uri={self.uri('disk')}", "--rw=randrw",
            "--bs=512-64k", "--bs_unaligned=0", "--iodepth=32", "--size=32m", "--verify=crc32c",
            "--verify_fatal=1", "--fsync=64", "--randseed=1", "--output-format=terse")
        self.assertNotIn("verify:", text.split("\n")[0])


if __name__ == "__main__":
    unittest.main()
