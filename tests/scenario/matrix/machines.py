# SPDX-License-Identifier: Apache-2.0
"""A lab whose machines can lose their power: all they keep lies on file systems that forget what
was not synced, and after the return there is another boot id, and nothing of a run directory. One
node has its state directory on the disk of its data, the other on a disk of its own."""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parents[2] / "tools" / "lib"))
from disk_lab import Disk  # noqa: E402
from lab import DATA_PATH, NODES, Lab  # noqa: E402

DATA_MIB = 512
STATE_MIB = 32
STATE_BESIDE_DATA = "/mnt/state"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
FAILOVER = 'heartbeat = "100ms"\ndetect = "1s"\nio-timeout = "2s"'
END_S = 30            # processes that were killed are gone then


class MatrixLab(Lab):
    def __init__(self, binaries):
        self.disks = {}      # of each machine, its data first
        super().__init__(binaries, failover=FAILOVER)
        try:
            for name in (*NODES, "witness"):
                self._give_disks(name)
        except BaseException:
            self.close()
            raise

    def _give_disks(self, name):
        machine = self[name]
        machine.state.mkdir()
        self.disks[name] = []
        if name in NODES:
            self.disks[name].append(Disk(machine, "/mnt", DATA_MIB))
            machine.inside("mkdir", DATA_PATH)
        if name == NODES[0]:
            machine.inside("mkdir", STATE_BESIDE_DATA)
            self._mount_state(machine)
        else:
            self.disks[name].append(Disk(machine, str(machine.state), STATE_MIB))
        boot_id = machine.root / "boot_id"
        boot_id.write_text(f"{uuid.uuid4()}\n", "ascii")
        machine.inside("mount", "--bind", str(boot_id), BOOT_ID)

    @staticmethod
    def _mount_state(machine):
        machine.inside("mount", "--bind", STATE_BESIDE_DATA, str(machine.state))

    def close(self):
        for name in self.disks:
            for disk in self.disks[name]:
                disk.hang(False)   # nothing that hangs can be ended
            self.end_processes(name)
        super().close()
        for disks in self.disks.values():
            for disk in disks:
                disk.close()
        self.disks = {}

    def bare(self, node):
        """The mirrored directory below every mount."""
        machine = self[node]
        return f"/proc/{machine.holder.pid}/root{machine.run_directory}/tree/data/0"

    # --- Processes ----------------------------------------------------------------------------

    def processes(self, name):
        """Those in a machine, but for the one that stands for it."""
        holder = self[name].holder.pid
        namespace = os.readlink(f"/proc/{holder}/ns/mnt")
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):   # gone, or a zombie
                if entry.name.isdigit() and os.readlink(entry / "ns/mnt") == namespace:
                    found.append(int(entry.name))
        return [pid for pid in found if pid != holder]

    def end_processes(self, name, spared=()):
        """Kills everything in a machine, but for those `spared`, and waits until it is gone."""
        self._kill(name, spared)
        self.wait_for(lambda: not self._kill(name, spared), END_S,
                      lambda: f"{name} has {self.processes(name)}")

    def _kill(self, name, spared):
        pids = [pid for pid in self.processes(name) if pid not in spared]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    # --- Power --------------------------------------------------------------------------------

    def cut_power(self, *names):
        """Of all at once. Nobody hears a farewell: the links are dead first."""
        for name in names:
            self.isolate(name)
        for name in names:
            self._kill(name, ())
        for name in names:
            for disk in self.disks[name]:
                disk.shut_down()

    def restore_power(self, name):
        """Boots: what was synced is there, gemeld is started."""
        machine = self[name]
        self.end_processes(name)
        machine.kill_daemon()    # it is dead, and its parent has not looked
        mounts = machine.mounts_below("/mnt") + machine.mounts_below(str(machine.root))
        for path in reversed(mounts):
            machine.inside("umount", "-l", path)
        for disk in self.disks[name]:
            disk.mount_again()
        if name == NODES[0]:
            self._mount_state(machine)
        assert not machine.mounts_below(str(machine.run_directory))
        shutil.rmtree(machine.run_directory, ignore_errors=True)
        (machine.root / "boot_id").write_text(f"{uuid.uuid4()}\n", "ascii")
        self.rejoin(name)
        self.start(name)

    def start_again(self, name):
        """Boots a machine whose disk works again."""
        self.cut_power(name)
        self.restore_power(name)
