#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's set-up of two machines and a witness, followed to the letter: its commands are taken
from the page and run on a machine that is a namespace, with the units that are installed. And the
manual pages name every command and every option that there is."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tools" / "lib"))
from lab import Lab, default_binaries, run  # noqa: E402

ADDRESSES = {"alpha": "10.0.0.1/24", "beta": "10.0.0.2/24", "witness": "10.0.0.9/24"}
# What each machine has for its own; the rest of the file system is everybody's.
OWN = ("/etc", "/srv", "/var/lib", "/run", "/usr/local")
PATIENCE_S = 60


class SetupTest(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(default_binaries())
        self.addCleanup(self.lab.close)
        self.machines = self.lab.root / "machines"
        self.machines.mkdir()
        self.addCleanup(self.end_daemons)
        self.install()
        self.holders = {}
        for name, address in ADDRESSES.items():
            self.make_machine(name, address)

    def install(self):
        """What `cmake --install` leaves, which is tested elsewhere (tests/install)."""
        binaries = self.lab.binaries
        local = self.lab.root / "local"
        units = local / "lib" / "systemd" / "system"
        units.mkdir(parents=True)
        for program, folder in (("gemeld", "sbin"), ("gemel", "bin")):
            (local / folder).mkdir()
            os.symlink(binaries / program, local / folder / program)
        for unit in (binaries.parent / "packaging").glob("*.service"):
            shutil.copy(unit, units)
        self.assertEqual(len(list(units.iterdir())), 3)
        for name in ("ssh", "scp", "systemctl"):
            os.symlink(HERE / "machine_tools.sh", local / "bin" / name)
        self.local = local

    def make_machine(self, name, address):
        machine = self.lab[name]
        machine.inside("ip", "address", "add", address, "dev", "net0")
        host = ADDRESSES[name].split("/")[0] if name == "witness" else name
        holder = machine.spawn("unshare", "--uts", "--mount", "sh", "-c",
                               f"hostname {host} && exec sleep infinity")
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        self.holders[name] = holder
        self.lab.wait_for(lambda: self.on(name, "hostname", check=False).stdout.strip() == host,
                          PATIENCE_S, lambda: f"{name} has not its name")
        for path in OWN:
            own = machine.root / "own" / path[1:].replace("/", "-")
            if path == "/etc":
                shutil.copytree(path, own, symlinks=True)
                shutil.rmtree(own / "gemel", ignore_errors=True)
            elif path == "/usr/local":
                own = self.local
            else:
                own.mkdir(parents=True)
            self.on(name, "mount", "--bind", str(own), path)
        (self.machines / host).write_text(str(holder.pid), encoding="ascii")

    def on(self, name, *command, **options):
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return run("nsenter", f"--target={self.holders[name].pid}", "--net", "--mount", "--uts",
                   "--", "env", f"PATH={path}", f"MACHINES={self.machines}", *command, **options)

    def end_daemons(self):
        """In the order of their start reversed, and gently: they hold mounts."""
        pids = self.machines / "pids"
        for pid in reversed(pids.read_text().split() if pids.exists() else []):
            try:
                os.kill(int(pid), signal.SIGTERM)
            except ProcessLookupError:
                continue
            end = time.monotonic() + PATIENCE_S
            while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < end:
                time.sleep(0.05)

    def explain(self):
        return "\n".join(f"--- {log.name}\n{log.read_text()}"
                         for log in sorted(self.machines.glob("*.log")))

    def test_the_readme_can_be_followed(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        section = readme[readme.index("\n## Two machines"):]
        commands = re.search(r"```\n(mkdir.*?)```", section, re.DOTALL).group(1)
        followed = self.on("alpha", "bash", "-euxc", commands, check=False)
        self.assertEqual(followed.returncode, 0, followed.stderr + self.explain())
        waited = self.on("alpha", "gemel", "wait", "db", "primary", "--timeout", f"{PATIENCE_S}s",
                         check=False)
        self.assertEqual(waited.returncode, 0, waited.stderr + self.explain())
        self.on("alpha", "sh", "-c", "echo both >/srv/db/file")
        self.assertEqual(self.on("beta", "cat", "/srv/db/file").stdout, "both\n")
        self.assertIn("10.0.0.50/24", self.on("alpha", "ip", "address").stdout)
        self.on("alpha", "gemel", "swap", "db")
        self.on("beta", "gemel", "wait", "db", "primary", "--timeout", f"{PATIENCE_S}s")
        self.assertIn("10.0.0.50/24", self.on("beta", "ip", "address").stdout)
        self.assertEqual(self.on("beta", "cat", "/srv/db/file").stdout, "both\n")
        key = self.on("beta", "stat", "-c", "%a", "/etc/gemel/cluster.key").stdout
        self.assertEqual(key, "600\n")


class ManualPagesTest(unittest.TestCase):
    """--help is what there is."""

    def help(self, program, *words):
        binary = pathlib.Path(default_binaries()) / program
        return subprocess.run([binary, *words, "--help"], check=True, text=True,
                              capture_output=True).stdout

    def options(self, text):
        return set(re.findall(r"--([a-z][a-z-]*)", text)) - {"help"}

    def page(self, name):
        return (ROOT / "docs" / "man" / name).read_text(encoding="utf-8")

    def commands(self, text):
        return re.findall(r"(?m)^  ([a-z]+)  ", text[text.index("Subcommands:"):])

    def test_gemel(self):
        page = self.page("gemel.1")
        overview = self.help("gemel")
        commands = self.commands(overview)
        self.assertGreater(len(commands), 10)
        for command in commands:
            with self.subTest(command=command):
                entries = re.findall(rf"(?m)^\.It Cm {command}\b.*$", page)
                words = (command, "check") if command == "config" else (command,)
                self.assertEqual(len(entries), 1)
                options = self.options(self.help("gemel", *words)) - self.options(
                    overview[:overview.index("Subcommands:")])
                for option in options:
                    self.assertIn(f"Fl Fl {option}", entries[0].replace("\\-", "-"))

    def test_gemeld(self):
        page = self.page("gemeld.8")
        for option in self.options(self.help("gemeld")):
            self.assertRegex(page, rf"(?m)^\.It Fl Fl {option}\b")


if __name__ == "__main__":
    unittest.main(verbosity=2)
