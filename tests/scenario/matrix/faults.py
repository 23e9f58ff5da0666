# SPDX-License-Identifier: Apache-2.0
"""The faults of the matrix. Each begins at once and returns what ends it."""

import signal

LEFT_KIB = 64         # of a disk that is full
ONE_IN = 4            # waits until a failed copy asks to be filled again by itself


class Faults:
    def __init__(self, lab, chance, power_is_back):
        """`power_is_back(node)`: gemeld was started there, and nothing else runs."""
        self.lab = lab
        self.chance = chance
        self.power_is_back = power_is_back
        self.silent = set()   # their gemeld answers nobody
        self.person_helps = False   # so that a failed copy need not wait for half a minute

    # --- Of the process -----------------------------------------------------------------------

    def kill_serving(self, serving, other):
        self.lab[serving].kill_daemon()
        return lambda: self.lab.start(serving)

    def kill_other(self, serving, other):
        return self.kill_serving(other, serving)

    def kill_witness(self, serving, other):
        return self.kill_serving("witness", None)

    def pause_serving(self, serving, other):
        self.silent.add(serving)
        self.lab[serving].daemon.send_signal(signal.SIGSTOP)

        def back():
            self.lab[serving].daemon.send_signal(signal.SIGCONT)
            self.silent.discard(serving)
        return back

    def pause_other(self, serving, other):
        return self.pause_serving(other, serving)

    # --- Of the network -----------------------------------------------------------------------

    def lose_serving_node(self, serving, other):
        self.lab.isolate(serving)
        self.lab[serving].kill_daemon()

        def back():
            self.lab.rejoin(serving)
            self.lab.start(serving)
        return back

    def lose_other_node(self, serving, other):
        return self.lose_serving_node(other, serving)

    def isolate_serving(self, serving, other):
        self.lab.isolate(serving)
        return lambda: self.lab.rejoin(serving)

    def isolate_other(self, serving, other):
        return self.isolate_serving(other, serving)

    def cut_serving_to_other(self, serving, other):
        self.lab.cut(serving, other)
        return lambda: self.lab.heal(serving)

    def cut_other_to_serving(self, serving, other):
        return self.cut_serving_to_other(other, serving)

    def mute_serving(self, serving, other):
        self.lab.cut(serving)
        return lambda: self.lab.heal(serving)

    def mute_other(self, serving, other):
        return self.mute_serving(other, serving)

    # --- Of the disk --------------------------------------------------------------------------

    def fill_disk_of_serving(self, serving, other):
        disk = self.lab.disks[serving][0]
        disk.fill(LEFT_KIB)

        def free():
            disk.free()
            self.person_helps = self.chance.randrange(ONE_IN) > 0
        return free

    def fill_disk_of_other(self, serving, other):
        return self.fill_disk_of_serving(other, serving)

    def fail_disk_of_serving(self, serving, other):
        """Every call fails with EIO, until the machine is started again with a disk that works."""
        self.lab.disks[serving][0].shut_down()
        return lambda: self._start_again(serving)

    def fail_disk_of_other(self, serving, other):
        return self.fail_disk_of_serving(other, serving)

    def hang_disk_of_serving(self, serving, other):
        disk = self.lab.disks[serving][0]
        self.silent.add(serving)
        disk.hang(True)

        def goes_on():
            disk.hang(False)
            self.silent.discard(serving)
        return goes_on

    def hang_disk_of_other(self, serving, other):
        return self.hang_disk_of_serving(other, serving)

    # --- Of the power -------------------------------------------------------------------------

    def cut_power_of_serving(self, serving, other):
        return self._cut_power(serving)

    def cut_power_of_other(self, serving, other):
        return self._cut_power(other)

    def cut_power_of_both(self, serving, other):
        nodes = [serving, other]
        self.chance.shuffle(nodes)
        return self._cut_power(*nodes)

    def cut_power_of_witness(self, serving, other):
        return self._cut_power("witness")

    def _cut_power(self, *machines):
        self.silent.update(machines)
        self.lab.cut_power(*machines)

        def back():
            for machine in machines:
                self.lab.restore_power(machine)
                self.silent.discard(machine)
                self.power_is_back(machine)
        return back

    def _start_again(self, node):
        self.lab.cut_power(node)
        self.lab.restore_power(node)
        self.power_is_back(node)


FAULTS = sorted(name for name in vars(Faults) if not name.startswith("_"))
OF_DISKS = {name for name in FAULTS if "disk" in name or "power" in name}
OF_MEMORY = {"cut_power_of_serving", "fail_disk_of_serving"}   # the serving node forgets


def forgets_acknowledged(fault, moment, state_of_other):
    """Whether only what was synced counts afterwards: no node that held it has kept its memory.
    `state_of_other`: just before the fault."""
    if fault == "cut_power_of_both":
        return True
    return fault in OF_MEMORY and moment == "resync" and state_of_other != "secondary"
