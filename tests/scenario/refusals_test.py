#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input to the real programs: every mistake is refused with a sentence that names it and says
what to do, with the exit status of its kind, and nothing is touched that need not be."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools" / "lib"))
sys.path.insert(0, str(HERE))
from lab import DATA_PATH, Lab, default_binaries  # noqa: E402
import stranger  # noqa: E402

PATIENCE_S = 20


class RefusalsTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries())
        self.addCleanup(self.lab.close)
        self.alpha = self.lab["alpha"]
        self.good = self.lab.config.read_text(encoding="utf-8")

    def shell(self, command, node="alpha"):
        return self.lab[node].inside("sh", "-c", command)

    def gemeld(self, text, *, node="alpha", state=None, run=None):
        """Runs gemeld of `node` with this configuration to its end; it must come by itself."""
        config = self.lab.root / "tried.toml"
        config.write_text(text, encoding="utf-8")
        machine = self.lab["alpha"]
        process = machine.spawn(str(self.lab.binaries / "gemeld"), "--config", str(config),
                                "--node", node, "--state", str(state or machine.state), "--run",
                                str(run or machine.run_directory), stderr=subprocess.PIPE,
                                stdout=subprocess.DEVNULL, text=True)
        try:
            _, complaints = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.fail("gemeld began to work")
        return process.returncode, complaints

    def assert_says(self, text, *parts):
        for part in parts:
            self.assertIn(part, text)

    def status(self, node):
        """What a person reads."""
        return self.lab.gemel(node, "status", check=False).stdout

    def wait_status(self, node, *parts):
        self.lab.wait_for(lambda: all(part in self.status(node) for part in parts), PATIENCE_S,
                          lambda: f"{parts} in the status of {node}, not\n{self.status(node)}")

    # --- Configuration ------------------------------------------------------------------------

    def test_mistakes_in_the_configuration(self):
        replaced = (
            ("directories", "directorys", ": unknown key 'directorys' in [mirror.data]; did you "
             "mean 'directories'?"),
            ('kind = "witness"', 'kind = "witnes"', "did you mean 'witness'?"),
            ("[failover]", "[failovr]", "unknown key 'failovr'; did you mean 'failover'?"),
            ("[cluster]", "[cluster", "Error while parsing"),
            ('"alpha", "beta"', '"alpha", "bata"', "there is no [node.bata]"),
            (f'"{DATA_PATH}"', '"data"', "'data' is not an absolute path"),
            (f'"{DATA_PATH}"', f'"{self.lab.root}"', "contains the state directory"),
            (str(self.lab.root / "cluster.key"), "/nowhere", "`gemel keygen /nowhere` makes one"),
            ('detect = "1s"', 'detect = "1 s."', "a time like"),
            (":7800", "", "no numeric address with a port"),
        )
        state, run = self.alpha.state, self.alpha.run_directory
        mounts = self.alpha.mounts_below("/")
        for number, (old, new, expected) in enumerate(replaced):
            with self.subTest(mistake=new):
                text = self.good.replace(old, new, 1)
                self.assertNotEqual(text, self.good)
                status, complaints = self.gemeld(text)
                self.assertEqual(status, 2, complaints)
                self.assertIn(expected, complaints)
                self.assertRegex(complaints, r"(?m)^\S+tried\.toml:\d+:\d+: ")
                self.assertFalse(state.exists() or run.exists(), "something was made")
                check = self.lab.gemel("alpha", "config", "check", str(self.lab.root /
                                       "tried.toml"), "--state", str(state), check=False)
                self.assertEqual((check.returncode, check.stderr), (2, complaints))
        self.assertEqual(self.alpha.mounts_below("/"), mounts)
        status, complaints = self.gemeld(self.good, node="gamma")
        self.assertEqual(status, 2)
        self.assert_says(complaints, "has no [node.gamma]", "--node")

    # --- Directories --------------------------------------------------------------------------

    def test_directories_that_cannot_be_mirrored(self):
        self.shell("touch /mnt/file; ln -s data /mnt/link; mkdir -p /mnt/data/inner /mnt/plain; "
                   "mount -t tmpfs inner /mnt/data/inner; mount -t ramfs plain /mnt/plain")
        cases = (
            ("/mnt/missing", "does not exist", "make it"),
            ("/mnt/file", "not a directory", "name the one"),
            ("/mnt/link", "symbolic link", "name the directory that it leads to"),
            ("/mnt/data", "'/mnt/data/inner' inside it is a mount of inner", "unmount it"),
            ("/mnt/plain", "no trusted. extended attributes", "ext4"),
        )
        mounts = self.alpha.mounts_below("/")
        for path, *expected in cases:
            with self.subTest(path=path):
                status, complaints = self.gemeld(self.good.replace(DATA_PATH, path))
                self.assertEqual(status, 1, complaints)
                self.assert_says(complaints, f"'{path}' cannot be mirrored", *expected)
                self.assertEqual(self.alpha.mounts_below("/"), mounts)

    def test_directories_of_another_mirror(self):
        self.lab.start("alpha")
        self.lab.wait_state("alpha", "wait")
        other = self.good.replace("[mirror.data]", "[mirror.other]")
        # With directories of its own, as a second daemon would be started by mistake.
        places = {"state": self.lab.root / "second-state", "run": self.lab.root / "second-run"}
        for path in (DATA_PATH, DATA_PATH + "/inside"):
            status, complaints = self.gemeld(other.replace(DATA_PATH, path), **places)
            self.assertEqual(status, 1, complaints)
            self.assert_says(complaints, "mirror '" if path != DATA_PATH else "'data'", "mirror")
        self.assert_says(self.gemeld(other, **places)[1], "part of another mirror, 'data'",
                         "release")
        # And two daemons of one node.
        self.assert_says(self.gemeld(self.good, run=places["run"])[1], "another gemeld uses")
        self.assert_says(self.gemeld(self.good, state=places["state"])[1], "another gemeld answers")

    def test_directories_of_others_keep_their_modes(self):
        places = {"state": self.lab.root / "open-state", "run": self.lab.root / "open-run"}
        for place in places.values():
            place.mkdir(mode=0o755)
        self.gemeld(self.good.replace(DATA_PATH, "/mnt/missing"), **places)
        for place in places.values():
            self.assertEqual(place.stat().st_mode & 0o777, 0o755)

    # --- The state directory ------------------------------------------------------------------

    def serve_alone(self):
        """Leaves a state directory that has served."""
        self.lab.start("alpha")
        self.lab.wait_state("alpha", "wait")
        self.lab.gemel("alpha", "promote", "data", "--force")
        self.lab.wait_state("alpha", "alone")
        self.shell(f"echo kept >{DATA_PATH}/file")
        self.alpha.kill_daemon(signal.SIGTERM)

    def test_state_of_something_else_says_of_what(self):
        self.serve_alone()
        belongs = "belongs to mirror 'data' of cluster 'lab' on node 'alpha'"
        status, complaints = self.gemeld(self.good.replace('"lab"', '"shop"'))
        self.assertEqual(status, 1)
        self.assert_says(complaints, belongs, "--state")
        status, complaints = self.gemeld(self.good, node="beta")
        self.assertEqual(status, 1)
        self.assert_says(complaints, belongs, "--state")
        (self.alpha.state / "data").rename(self.alpha.state / "other")
        status, complaints = self.gemeld(self.good.replace("[mirror.data]", "[mirror.other]"))
        self.assertEqual(status, 1)
        self.assert_says(complaints, "mirror, 'data'")  # its guard still covers the path

    def test_state_of_another_directory(self):
        self.serve_alone()
        self.shell("mkdir /mnt/else")
        status, complaints = self.gemeld(self.good.replace(DATA_PATH, "/mnt/else"))
        self.assertEqual(status, 1)
        self.assert_says(complaints, "made for other volumes", "restore them")
        self.lab.start("alpha")
        self.lab.wait_state("alpha", "wait", "alone")
        self.lab.gemel("alpha", "stop", "data")
        self.lab.gemel("alpha", "release", "data")
        self.alpha.kill_daemon()
        self.shell("mv /mnt/data /mnt/moved; mkdir /mnt/data")
        status, complaints = self.gemeld(self.good)
        self.assertEqual(status, 1)
        self.assert_says(complaints, "not what mirror 'data' had here", "is its disk "
                         "mounted?")

    def test_damaged_state(self):
        self.serve_alone()
        state = self.alpha.state / "data"
        pristine = self.lab.root / "pristine"
        shutil.copytree(state, pristine)
        for name, expected in (("superblock", "superblock that is corrupt"),
                               ("intents.0", "intent log")):
            with self.subTest(name=name):
                damaged = bytearray((state / name).read_bytes())
                for offset in range(0, len(damaged), 256):
                    damaged[offset] ^= 0x55
                (state / name).write_bytes(damaged)
                if name == "intents.0":
                    (state / "intents.1").unlink()
                status, complaints = self.gemeld(self.good)
                self.assertEqual(status, 1)
                self.assert_says(complaints, expected, str(state), "move the")
                shutil.rmtree(state)
                shutil.copytree(pristine, state)

    def test_keys(self):
        key = self.lab.root / "tried.key"
        text = self.good.replace("cluster.key", "tried.key")
        key.write_text("no key\n", encoding="ascii")
        key.chmod(0o644)
        self.assert_says(self.gemeld(text)[1], "may be read by others", "chmod 600")
        key.chmod(0o600)
        self.assert_says(self.gemeld(text)[1], "is no cluster key", "`gemel keygen`")

    # --- Nodes that do not fit together -------------------------------------------------------

    def start_with(self, node, text):
        machine = self.lab[node]
        config = self.lab.root / f"{node}.toml"
        config.write_text(text, encoding="utf-8")
        machine.start_daemon(self.lab.binaries / "gemeld", "--config", str(config), "--node", node,
                             "--state", str(machine.state), "--run", str(machine.run_directory))

    def assert_apart(self):
        """Neither serves with the other, and nothing of one is on the other."""
        self.assertNotIn(self.lab.state("beta"), ("secondary", "resync", "alone", "primary"))
        self.assertNotIn("secret", os.listdir(self.lab["beta"].bare))

    def test_strangers(self):
        (self.alpha.bare / "secret").write_text("x", encoding="ascii")
        other_key = self.lab.root / "other.key"
        self.lab.gemel("alpha", "keygen", str(other_key))
        strange = (self.good.replace("cluster.key", "other.key"),
                   self.good.replace('"lab"', '"shop"'))
        self.lab.start("witness", "alpha")
        for text in strange:
            self.start_with("beta", text)
            self.wait_status("alpha", "no session with beta", "knows no cluster",
                             "or has another key", "[cluster] have to be the same")
            self.wait_status("beta", "no session with alpha", "[cluster] have to be the same")
            self.wait_status("beta", "the witness", "[cluster] have to be the same")
            self.assert_apart()
            self.lab["beta"].kill_daemon()
            shutil.rmtree(self.lab["beta"].state)   # it says that it is beta's of that cluster

    def test_different_descriptions(self):
        (self.alpha.bare / "secret").write_text("x", encoding="ascii")
        self.lab.start("witness", "alpha")
        self.start_with("beta", self.good + 'virtual-ip = ["10.77.0.50/24"]\n')
        expected = ("'virtual-ip' in [mirror.data] is []", "[\"10.77.0.50/24\"]",
                    "the same configuration to both nodes")
        self.wait_status("alpha", *expected)
        self.wait_status("beta", *expected)
        self.assert_apart()
        self.lab["beta"].kill_daemon()
        self.lab.start("beta")
        self.lab.wait_pair()

    def test_protocol_versions_that_cannot_talk(self):
        self.lab.start("witness", "alpha", "beta")
        self.lab.wait_pair()
        # A later version asks; this program answers which it speaks, and goes on.
        answer = self.ask("10.77.0.2:7800", stranger.hello(7, 9))
        self.assertEqual(answer[10], stranger.REFUSE)
        self.assertEqual(answer[stranger.HEADER_SIZE:], b"\x01\x02\x00\x02\x00")
        log = self.lab["beta"].daemon_log.read_text()
        self.assert_says(log, "this side speaks 2, the other 7 to 9", "bring the older gemel up")
        self.assertEqual(self.lab.state("beta"), "secondary")

    def ask(self, place, data):
        """What comes back at this node's port, from a client's machine."""
        script = ("import socket,sys; c=socket.create_connection(sys.argv[1].split(':'), 10); "
                  "c.sendall(bytes.fromhex(sys.argv[2])); "
                  "print(b''.join(iter(lambda: c.recv(4096), b'')).hex())")
        host = self.lab["client"].inside("/usr/bin/python3", "-c", script, place, data.hex())
        return bytes.fromhex(host.stdout)

    def test_absent_peer_and_witness(self):
        self.lab.start("alpha")
        self.wait_status("alpha", "wait: the witness 10.77.0.9:7801 did not answer",
                         "no session with beta")
        self.lab.start("witness")
        self.wait_status("alpha", "waits for beta: at the very first start both nodes must be",
                         "promote data --force")
        self.lab.start("beta")
        self.lab.wait_pair()
        self.assertNotIn("no session", self.status("alpha"))

    # --- Exit statuses ------------------------------------------------------------------------

    def test_exit_statuses(self):
        nobody = self.lab.gemel("alpha", "status", check=False)
        self.assertEqual(nobody.returncode, 3)
        self.assert_says(nobody.stderr, "is gemeld running?", "--run")
        self.lab.start("witness", "alpha", "beta")
        self.lab.wait_pair()
        cases = (
            (0, "", ("version",)),
            (0, "", ("wait", "data", "primary", "--timeout", "20s")),
            (1, "stopped mirror can be released: 'gemel stop data' first", ("release", "data")),
            (1, "gemel promote data --force", ("promote", "data")),
            (1, "there is no mirror 'none'", ("swap", "none")),
            (1, "never overwritten", ("keygen", str(self.lab.root / "cluster.key"))),
            (2, "did you mean 'status'?", ("statu",)),
            (2, "did you mean 'alone'?", ("wait", "data", "alon")),
            (2, "write it like 500ms", ("wait", "data", "alone", "--timeout", "soon")),
            (2, "resync takes one of --full", ("resync", "data")),
            (4, "is still primary after 200ms", ("wait", "data", "alone", "--timeout", "200ms")),
        )
        for expected, part, arguments in cases:
            with self.subTest(arguments=arguments):
                result = self.lab.gemel("alpha", *arguments, check=False)
                self.assertEqual(result.returncode, expected, result.stderr)
                self.assertIn(part, result.stderr)
        shown = json.loads(self.lab.gemel("alpha", "status", "--json").stdout)
        self.assertNotIn("trouble", shown["mirrors"][0]["peer"])
        daemon = self.alpha.daemon
        self.alpha.kill_daemon(signal.SIGTERM)
        self.assertEqual(daemon.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
