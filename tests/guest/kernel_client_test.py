#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Linux's own NBD client, in a guest, with a block volume of two real nodes. Debian's nbd-client
connects it; a file system is made on it, written, synced, trimmed and checked. And one that is
given new connections (nbd_kernel_client.cpp) goes on through swaps back and forth and a restart: it
finds who serves by a link that is turned with the roles, as a virtual address would be."""

import hashlib
import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import guest  # noqa: E402
from volume_case import RECORDS, SIZE, VolumeCase, default_binaries  # noqa: E402

PORT = 10809
CONNECT = f"nbd-client 10.0.2.2 {PORT} /dev/nbd0 -name disk0 -block-size 4096 -timeout 60"


class KernelClientTest(VolumeCase):
    @property
    def link(self):
        return self.folder / "disk0.sock"

    def forward(self, node):
        """A port of the node, which is the guest's host, that leads to who serves."""
        forwarder = self.lab[node].spawn(
            "socat", f"TCP-LISTEN:{PORT},bind=127.0.0.1,reuseaddr,fork",
            f"UNIX-CONNECT:{self.link}", stderr=subprocess.DEVNULL)
        self.addCleanup(forwarder.wait)
        self.addCleanup(forwarder.kill)

    def lead_to(self, node):
        turned = self.link.with_suffix(".new")
        turned.symlink_to(self.socket(node))
        os.replace(turned, self.link)

    def boot(self, node):
        self.forward(node)
        system = guest.System(modules=["nbd", "virtio_net"],
                              programs=["mke2fs", "e2fsck", "nbd-client"])
        system.add_program("nbd_kernel_client", default_binaries() + "/nbd_kernel_client")
        system.add("guest/records.sh", HERE / "records.sh")
        started = guest.Guest(
            self.folder / "console", ["-nic", "user,model=virtio-net-pci"],
            prefix=self.lab[node].prefix(), kernel=system.kernel,
            initramfs=system.initramfs(self.folder / "initramfs"))
        self.addCleanup(started.close)
        started.wait_ready()
        started.run("ip address add 10.0.2.15/24 dev eth0 && ip link set eth0 up")
        return started

    def test_a_file_system_on_the_kernels_device(self):
        self.lab.start()
        serving, _ = self.lab.wait_pair()
        self.lead_to(serving)
        client = self.boot(serving)
        client.run(f"{CONNECT} -connections 4")
        self.assertEqual(client.run("blockdev --getsize64 /dev/nbd0"), str(SIZE))
        client.run("/sbin/mke2fs -q -t ext4 /dev/nbd0 && mount /dev/nbd0 /mnt")
        client.run("for n in $(seq 20); do yes file $n | head -c $((n * 9991)) >/mnt/$n; "
                   "sync /mnt/$n; done")
        said = client.run("cd /mnt && sha256sum [0-9]*")
        client.run("dd if=/dev/zero of=/mnt/large bs=1M count=24 conv=fsync 2>/dev/null && "
                   "rm /mnt/large && fstrim -v /mnt")
        client.run("umount /mnt && /sbin/e2fsck -f -n /dev/nbd0")
        client.run("nbd-client -d /dev/nbd0")

        # What another connection finds is what this one has left, to the last byte.
        client.run(CONNECT)
        self.assertEqual(client.run("mount -o ro /dev/nbd0 /mnt && cd /mnt && sha256sum [0-9]*"),
                         said)
        whole = client.run("umount /mnt; sha256sum </dev/nbd0").split()[0]
        self.assertEqual(hashlib.sha256(self.image(serving)).hexdigest(), whole)
        self.assert_equal_copies()
        client.run("nbd-client -d /dev/nbd0")
        self.assertEqual(client.failures(), [])
        client.power_off()

    def wait_for_records(self, client):
        """More of them; the writer goes on, and has said nothing else."""
        goal = self.synced + RECORDS
        while self.synced < goal:
            said = client.run("usleep 200000; cat /run/said").splitlines()
            self.assertEqual([line for line in said if not line.startswith("synced ")], [],
                             client.tail() + self.lab.logs())
            self.synced = len(said)

    def test_it_goes_on_through_swaps_and_a_restart(self):
        self.lab.start()
        serving, other = self.lab.wait_pair()
        self.lead_to(serving)
        client = self.boot(serving)
        client.run(f"nbd_kernel_client 10.0.2.2 {PORT} disk0 0 >/run/client 2>&1 &")
        client.run("until grep -q connected /run/client; do usleep 50000; done")
        client.run("/sbin/mke2fs -q -t ext4 /dev/nbd0 && mkdir /records && "
                   "mount /dev/nbd0 /records")
        client.run("/guest/records.sh write 1 >/run/said 2>&1 & echo $! >/run/writer")
        self.wait_for_records(client)
        for _ in range(2):
            self.lab.gemel(serving, "swap", "data")
            serving, other = other, serving
            self.assertEqual(self.lab.wait_pair(), (serving, other))
            self.lead_to(serving)
            self.wait_for_records(client)
        # Restarted before its peer takes over: the secondary is not there.
        self.lab[other].kill_daemon()
        self.lab.wait_state(serving, "alone")
        self.lab[serving].kill_daemon()
        self.lab.start(serving)
        self.lab.wait_state(serving, "alone")
        self.wait_for_records(client)
        self.lab.start(other)
        self.assertEqual(self.lab.wait_pair(), (serving, other))
        self.wait_for_records(client)
        client.run("kill $(cat /run/writer); until umount /records; do usleep 50000; done")
        self.assertGreaterEqual(int(client.run("grep -c again /run/client")), 3)
        client.run("/sbin/e2fsck -f -n /dev/nbd0 && mount /dev/nbd0 /records")
        client.run(f"/guest/records.sh check {self.synced} && umount /records")
        self.assert_equal_copies()
        self.assertEqual(client.failures(), [])
        client.power_off()


if __name__ == "__main__":
    unittest.main(verbosity=2)
