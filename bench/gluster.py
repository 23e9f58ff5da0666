# SPDX-License-Identifier: Apache-2.0
"""GlusterFS replica 2 as a contender: two glusterd, each in the namespaces of a machine of lab.py
with files of its own where GlusterFS has fixed paths; a volume of two bricks on the file system
that everybody is measured on; its FUSE client on the first machine. Write-behind is off, so that an
answered write is on both bricks, as it is on both nodes of gemel."""

import contextlib
import os
import shutil
import signal
import time

from contenders import Contender
from lab import DATA_PATH, Lab

PATHS = ("/var/lib/glusterd", "/var/log/glusterfs", "/run")
NODES = ("alpha", "beta")
VOLUME = "bench"
READY_TIMEOUT_S = 60


def missing():
    """Why it cannot be compared with; None when it can."""
    for program in ("glusterd", "gluster", "mount.glusterfs"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install glusterfs-server)"
    return None


class Gluster(Contender):
    name = "gluster"

    def __init__(self, binaries, base):
        with contextlib.ExitStack() as undo:
            self.lab = Lab(binaries, directory=base)
            undo.callback(self.close)
            for node in NODES:
                self._start_glusterd(self.lab[node])
            self._make_volume()
            self._mount()
            undo.pop_all()
        super().__init__(binaries, self.lab["alpha"].prefix(), DATA_PATH)

    @staticmethod
    def _start_glusterd(machine):
        for path in PATHS:
            own = machine.root / "gluster" / path.strip("/")
            own.mkdir(parents=True)
            machine.inside("mount", "--bind", str(own), path)
        machine.inside("mkdir", "/run/gluster")
        # Goes to the background when it is ready to be asked.
        machine.inside("glusterd", "--log-level", "WARNING")

    def _gluster(self, *words):
        """The command on the first node, again while the daemons are not ready for it."""
        end = time.monotonic() + READY_TIMEOUT_S
        while True:
            done = self.lab["alpha"].inside("gluster", "--mode=script", *words, check=False)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > end:
                raise RuntimeError(f"gluster {' '.join(words)}: {done.stdout}{done.stderr}")
            time.sleep(0.5)

    def _make_volume(self):
        self._gluster("peer", "probe", Lab.address("beta"))
        bricks = []
        for node in NODES:
            brick = self.lab[node].root / "brick"
            brick.mkdir()
            bricks.append(f"{Lab.address(node)}:{brick}")
        self._gluster("volume", "create", VOLUME, "replica", "2", *bricks, "force")
        self._gluster("volume", "set", VOLUME, "performance.write-behind", "off")
        self._gluster("volume", "start", VOLUME)

    def _mount(self):
        machine = self.lab["alpha"]
        end = time.monotonic() + READY_TIMEOUT_S
        while True:
            done = machine.inside("mount", "-t", "glusterfs",
                                  f"{Lab.address('alpha')}:/{VOLUME}", DATA_PATH, check=False)
            if done.returncode == 0 and machine.inside("mountpoint", DATA_PATH,
                                                       check=False).returncode == 0:
                return
            if time.monotonic() > end:
                raise RuntimeError(f"GlusterFS is not mounted: {done.stderr}")
            time.sleep(0.5)

    def close(self):
        # Everything that lives in the machines' own mount namespaces was started here.
        for node in NODES:
            machine = self.lab[node]
            machine.inside("umount", "-l", DATA_PATH, check=False)
            for pid in processes_in(machine):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.lab.close()


def processes_in(machine):
    """The processes of this machine, without the one that holds its namespaces open."""
    own = os.readlink(f"/proc/{machine.holder.pid}/ns/mnt")
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/mnt") == own:
                found.append(int(name))
    return [pid for pid in found if pid != machine.holder.pid]
