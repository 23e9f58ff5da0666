# SPDX-License-Identifier: Apache-2.0
"""Who resynchronises: two gemel nodes, and rsync between the same two network namespaces. Each
gives one result for one run: seconds, processor seconds and memory of either side, bytes read and
sent."""

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

from contenders import resident
from lab import DATA_PATH, Lab

SYNC_TIMEOUT_S = 7200
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
INTENTS_IDLE_S = 33         # idle_rounds of a sync_interval in engine/mirror/replica.hpp, and a bit
RSYNC_PORT = 8730
WIRE_PORT = 5201
LINKS = {"1Gbit": 0.125e9, "10Gbit": 1.25e9, "none": None}     # bytes a second
RSYNC_MODES = {
    "whole": ["--whole-file"],
    "delta": ["--inplace", "--no-whole-file"],
    "checksum": ["--checksum", "--inplace", "--no-whole-file"],
}


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def transfers(pid):
    """Bytes that a process has read and written by system calls, and those that the disk read."""
    with open(f"/proc/{pid}/io", encoding="ascii") as io:
        fields = dict(line.split(": ") for line in io.read().splitlines())
    return {"read": int(fields["rchar"]), "disk_read": int(fields["read_bytes"])}


class Wire:
    """The link between the two nodes, shaped where that is wanted, and its counters."""

    def __init__(self, lab, link):
        self.lab = lab
        if LINKS[link] is None:
            return
        for node in ("alpha", "beta"):
            for device in ("net0", "net1"):
                lab[node].inside("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate",
                                 link.lower(), "burst", "2mb", "latency", "20ms")

    def sent(self):
        """Bytes that alpha has sent and received, headers of Ethernet included."""
        total = 0
        with open(f"/proc/{self.lab['alpha'].holder.pid}/net/dev", encoding="ascii") as counters:
            for line in counters:
                name, _, fields = line.strip().partition(":")
                if name in ("net0", "net1"):
                    total += int(fields.split()[0]) + int(fields.split()[8])
        return total

    def measure(self, bench, seconds):
        """Bytes a second of one TCP stream from alpha to beta: iperf3's, or gemel-bench's own."""
        address = self.lab.address("beta")
        if shutil.which("iperf3"):
            serve = ["iperf3", "-s", "-p", str(WIRE_PORT)]
            ask = ["iperf3", "-c", address, "-p", str(WIRE_PORT), "-t", str(seconds), "-J"]
        else:
            serve = [bench, "limits", "--answer", f"0.0.0.0:{WIRE_PORT}"]
            ask = [bench, "limits", "--json", "--ask", f"{address}:{WIRE_PORT}"]
        server = self.lab["beta"].spawn(*serve, stdout=subprocess.DEVNULL)
        try:
            for _ in range(50):
                done = self.lab["alpha"].inside(*ask, check=False)
                rate = self._rate_of(done.stdout) if done.returncode == 0 else None
                if rate:
                    return rate
                time.sleep(0.1)         # it does not listen yet
            raise RuntimeError(done.stderr or done.stdout)
        finally:
            server.kill()
            server.wait()

    @staticmethod
    def _rate_of(text):
        """Bytes a second; None of a test that did not take place, which iperf3 calls a success."""
        found = json.loads(text)
        if "stream_gb_per_s" in found:
            return found["stream_gb_per_s"] * 1e9
        return found.get("end", {}).get("sum_received", {}).get("bits_per_second", 0) / 8


class GemelPair:
    """Two nodes whose first volume is `volume`, made on alpha before anything is started."""

    def __init__(self, binaries, base, volume, link):
        self.volume = volume
        self.settled_at = 0.0
        with contextlib.ExitStack() as undo:
            self.lab = undo.enter_context(Lab(binaries, directory=base))
            self.wire = Wire(self.lab, link)
            self.source, self.target = self.lab["alpha"].bare, self.lab["beta"].bare
            # What an application on alpha sees, through gemel.
            self.mount = f"/proc/{self.lab['alpha'].holder.pid}/root{DATA_PATH}"
            volume.make(self.source)
            self.undo = undo.pop_all()

    def close(self):
        self.undo.close()

    def first_copy(self):
        """Start of both nodes, ids and index of all that alpha has, and the copy."""
        before, begin = self.wire.sent(), time.monotonic()
        self.lab.start()
        self._wait_pair()
        whole = time.monotonic() - begin
        return {**self._figures({}, before), "seconds_from_start": whole}

    def rest(self):
        """Waits until what the last resync touched is no intent of either node any more: what a
        node was touching when it stops is compared again, in regions of 4 MiB."""
        left = self.settled_at - time.monotonic()
        if left > 0:
            time.sleep(left)

    def part(self):
        """beta stops in good order; from here on alpha keeps the dirty map."""
        self.lab["beta"].kill_daemon(signal.SIGTERM)
        self.lab.wait_state("alpha", "alone")

    def resync(self, full=False):
        """beta comes back. Requires: part() before; nothing has been changed since but what the
        map knows. `full`: everything is compared."""
        if full:
            self.lab.gemel("alpha", "resync", "data", "--full")
        pid = self.lab["alpha"].daemon.pid
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        base = {"processor": processor_seconds(pid), **transfers(pid)}
        before, begin = self.wire.sent(), time.monotonic()
        self.lab.start("beta")
        self._wait_pair()
        whole = time.monotonic() - begin
        return {**self._figures(base, before), "seconds_from_start": whole}

    def start_resync(self, full=False):
        """The same without waiting."""
        if full:
            self.lab.gemel("alpha", "resync", "data", "--full")
        self.lab.start("beta")
        self.lab.wait_state("beta", "resync")

    def _wait_pair(self):
        with self.lab.explained():
            self.lab.wait_pair(SYNC_TIMEOUT_S)

    def _figures(self, base, sent_before):
        self.settled_at = time.monotonic() + INTENTS_IDLE_S
        pids = {node: self.lab[node].daemon.pid for node in ("alpha", "beta")}
        alpha, beta = transfers(pids["alpha"]), transfers(pids["beta"])
        return {
            "seconds": self._resync_seconds(),
            "source_cpu_s": processor_seconds(pids["alpha"]) - base.get("processor", 0),
            "target_cpu_s": processor_seconds(pids["beta"]),
            "source_read": alpha["read"] - base.get("read", 0),
            "target_read": beta["read"],
            "hashed": alpha["read"] - base.get("read", 0) + beta["read"],
            "sent": self.wire.sent() - sent_before,
            "source_memory": resident(pids["alpha"])["VmHWM"],
            "target_memory": resident(pids["beta"])["VmHWM"],
        }

    def _resync_seconds(self):
        """From the moment at which the target begins until it counts as in sync, of its events."""
        moments = {}
        with open(self.lab["beta"].state / "events.jsonl", encoding="utf-8") as events:
            for event in map(json.loads, events):
                if event["kind"] == "state":
                    state = event["text"].partition(":")[0]
                    moments[state] = datetime.datetime.strptime(event["time"],
                                                                "%Y-%m-%dT%H:%M:%S.%f%z")
        return max(0.001, (moments["secondary"] - moments["resync"]).total_seconds())


class PeakMemory:
    """The most that a process or one of its descendants has been resident with, looked at often:
    what wait4(2) tells of a process began with that of the one that started it."""

    def __init__(self, pid):
        self.pid = pid
        self.most = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while not self.over.wait(0.02):
            pending = [self.pid]
            while pending:
                pid = pending.pop()
                with contextlib.suppress(OSError, KeyError, ValueError):
                    self.most = max(self.most, resident(pid)["VmHWM"])
                    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
                    pending += map(int, children.read_text(encoding="ascii").split())

    def end(self):
        self.over.set()
        self.thread.join()
        return self.most


class Rsync:
    """A copy of the same source kept by rsync's own protocol, over the same link."""

    def __init__(self, pair, base):
        self.pair = pair
        self.copy = base / "rsync"
        self.copy.mkdir(exist_ok=True)
        self.config = base / "rsyncd.conf"
        self.config.write_text(
            f"use chroot = no\nuid = 0\ngid = 0\n[copy]\npath = {self.copy}\nread only = no\n",
            encoding="utf-8")

    def run(self, mode):
        lab = self.pair.lab
        daemon = lab["beta"].spawn("rsync", "--daemon", "--no-detach", f"--port={RSYNC_PORT}",
                                   f"--config={self.config}", stdin=subprocess.DEVNULL)
        try:
            self._wait_for_daemon(daemon)
            before, begin = self.pair.wire.sent(), time.monotonic()
            client = lab["alpha"].spawn(
                "rsync", "-a", "--numeric-ids", "--exclude=/.gemel", "--exclude=/lost+found",
                *RSYNC_MODES[mode], f"{self.pair.source}/",
                f"rsync://{lab.address('beta')}:{RSYNC_PORT}/copy/")
            memory = [PeakMemory(client.pid), PeakMemory(daemon.pid)]
            _, status, client_use = os.wait4(client.pid, 0)
            seconds = time.monotonic() - begin
            client.returncode = os.waitstatus_to_exitcode(status)
            sent = self.pair.wire.sent() - before
            peaks = [one.end() for one in memory]
        finally:
            daemon.terminate()
            _, _, daemon_use = os.wait4(daemon.pid, 0)
            daemon.returncode = 0
        if client.returncode != 0:
            raise RuntimeError(f"rsync ended with {client.returncode}")
        return {
            "seconds": seconds,
            "source_cpu_s": client_use.ru_utime + client_use.ru_stime,
            "target_cpu_s": daemon_use.ru_utime + daemon_use.ru_stime,
            "sent": sent,
            "source_memory": peaks[0],
            "target_memory": peaks[1],
        }

    def _wait_for_daemon(self, daemon):
        for _ in range(100):
            ask = self.pair.lab["alpha"].inside(
                "rsync", f"rsync://{self.pair.lab.address('beta')}:{RSYNC_PORT}/", check=False)
            if ask.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"rsync --daemon does not answer: {daemon.poll()}")


def disk_rates(source, other, scratch):
    """Bytes a second of one sequential reader, of two at once (both copies lie on one disk), and of
    a reader and a writer at once (a copy); caches are passed by."""
    def start(*words):
        return subprocess.Popen(["dd", "bs=4M", *words], stderr=subprocess.DEVNULL)

    def rate(processes, sizes):
        begin = time.monotonic()
        seconds = []
        for process in processes:
            if process.wait() != 0:
                raise RuntimeError("dd failed: the file system knows no O_DIRECT?")
            seconds.append(time.monotonic() - begin)
        return min(size / second for size, second in zip(sizes, seconds))

    size = os.path.getsize(source)
    read = ["iflag=direct", "of=/dev/null"]
    alone = rate([start(f"if={source}", *read)], [size])
    twice = rate([start(f"if={source}", *read), start(f"if={other}", *read)],
                 [size, os.path.getsize(other)])
    copy = rate([start(f"if={source}", *read),
                 start("if=/dev/zero", f"of={scratch}", "oflag=direct", "conv=fsync",
                       f"count={max(1, size // (4 << 20))}")],
                [size, max(1, size // (4 << 20)) * (4 << 20)])
    os.unlink(scratch)
    return {"disk_read": alone, "disk_read_twice": twice, "disk_copy": copy}
