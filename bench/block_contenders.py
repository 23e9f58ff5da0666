# SPDX-License-Identifier: Apache-2.0
"""What `gemel-bench block` compares: the backing file itself, gemel, mirrors made of qemu's parts,
and servers that replicate nothing. Each takes its requests from fio; but for the file itself by
NBD on a unix socket."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from contenders import SYNC_TIMEOUT_S, Nodes
from lab import NODES, Lab
from table import progress

FIO_TIMEOUT_S = 600
READY_TIMEOUT_S = 30
ATTEMPTS = 3                # of a load on gemel
VOLUME = "disk0"            # the name of every export
BACKINGS = "disks"          # directory of a node's backings, below /mnt there
MIB = 1 << 20


def without(program, package):
    """Why a program cannot be used; None when it can."""
    if shutil.which(program) is not None:
        return None
    return f"{program} is not installed (Debian: apt-get install {package})"


class Target:
    """`files`: what holds its data, for the page cache to be dropped."""

    name = ""

    def __init__(self, engine, files):
        self.engine = engine        # what tells fio where to do it
        self.files = files

    def load(self, words):
        return summary(self.result_of(self.start(words)))

    def start(self, words):
        return run_fio(["fio", "--name=load", *self.engine, *words, "--output-format=json"])

    def result_of(self, process):
        try:
            output, errors = process.communicate(timeout=FIO_TIMEOUT_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise RuntimeError(f"{self.name}: fio: {errors.strip()}")
        return json.loads(output[output.index("{"):])["jobs"]

    def forget_cached(self):
        for file in self.files:
            with open(file, "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self):
        """Ends what it started."""


def run_fio(command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def summary(jobs):
    """Of fio's jobs, which ran at once: their sum, and the latencies of the slowest."""
    parts = [part for job in jobs for part in (job["write"], job["read"]) if part["total_ios"] > 0]
    percentiles = [part["clat_ns"]["percentile"] for part in parts]
    return {
        "seconds": max(part["runtime"] for part in parts) / 1e3,
        "count": sum(part["total_ios"] for part in parts),
        "bytes": sum(part["io_bytes"] for part in parts),
        "ops_per_s": sum(part["iops"] for part in parts),
        "bytes_per_s": sum(part["bw_bytes"] for part in parts),
        "p50_us": max(p["50.000000"] for p in percentiles) / 1e3,
        "p99_us": max(p["99.000000"] for p in percentiles) / 1e3,
    }


def nbd_engine(path, export=VOLUME):
    return ["--ioengine=nbd", f"--uri=nbd+unix:///{export}?socket={path}"]


class Bare(Target):
    """The backing itself, past the page cache, as gemel uses it."""

    name = "bare"

    def __init__(self, base, name="bare"):
        file = base / f"{name}.img"
        super().__init__(["--ioengine=io_uring", "--direct=1", f"--filename={file}"], [file])


class BareTwice(Target):
    """Two such files at once: what a mirror could reach at most whose copies lie on one disk."""

    name = "bare twice"

    def __init__(self, base):
        self.twins = [Bare(base, name) for name in ("twice-1", "twice-2")]
        super().__init__([], [file for twin in self.twins for file in twin.files])

    def load(self, words):
        """Of the two the slower one: a write of a mirror is over when both copies have it."""
        processes = [twin.start(words) for twin in self.twins]
        results = [summary(self.result_of(process)) for process in processes]
        return min(results, key=lambda result: result["ops_per_s"])


class GemelVolumes(Target):
    """A mirror with many block volumes; the first one stands for it."""

    name = "gemel"

    def __init__(self, binaries, base, sizes):
        volumes = "".join(
            f'[[mirror.data.block]]\nname = "disk{i}"\nbacking = "/mnt/{BACKINGS}/disk{i}.img"\n'
            f'size = "{size // 1024}KiB"\n' for i, size in enumerate(sizes))

        def make_folders(lab):
            for node in NODES:
                (lab[node].root / "mnt" / BACKINGS).mkdir()

        self.nodes = Nodes(binaries, base, volumes, make_folders)
        self.sizes = sizes
        lab = self.nodes.lab
        self.sockets = lab[self.nodes.serving].run_directory / "nbd" / "data"
        super().__init__(nbd_engine(self.sockets / "disk0.sock"),
                         [lab[node].root / "mnt" / BACKINGS / "disk0.img" for node in NODES])

    def load(self, words):
        return self.as_a_pair(lambda: super(GemelVolumes, self).load(words))

    def as_a_pair(self, load):
        """A result counts if both copies had every write of it: a node that falls so far behind
        that it is left out gets what it lacks afterwards."""
        lab, serving = self.nodes.lab, self.nodes.serving
        with lab.explained():
            for _ in range(ATTEMPTS):
                lab.wait_pair(SYNC_TIMEOUT_S)
                epoch = lab.status(serving)["epoch"]
                result = load()
                if lab.status(serving)["epoch"] == epoch:
                    return result
                progress("the mirror was left with one node meanwhile; once more")
            raise RuntimeError(f"{self.name}: not once with both nodes in {ATTEMPTS} attempts")

    def load_each(self, numbers, words):
        """The same for a client of each of these volumes at once, which are threads of one fio.
        Their sum."""
        command = ["fio", "--thread", "--output-format=json", *words]
        for number in numbers:
            engine = nbd_engine(self.sockets / f"disk{number}.sock", f"disk{number}")
            command += ["--name=load", *engine, f"--size={self.sizes[number]}"]
        return self.as_a_pair(lambda: summary(self.result_of(run_fio(command))))

    def close(self):
        self.nodes.close()


class Server(Target):
    """A process that serves a file without replication."""

    name = ""
    program = package = ""

    @classmethod
    def missing(cls):
        return without(cls.program, cls.package)

    def __init__(self, base, size):
        folder = base / self.program
        folder.mkdir()
        file, path = folder / "disk.img", folder / "socket"
        with open(file, "wb") as made:
            made.truncate(size)
        super().__init__(nbd_engine(path), [file])
        with open(folder / "log", "wb") as output:
            self.process = subprocess.Popen(self.command(folder, file, path), stdout=output,
                                            stderr=output, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: answers(path), f"{self.name} does not listen")
        except BaseException:
            self.close()
            raise

    def close(self):
        end(self.process)


class NbdkitFile(Server):
    name = "nbdkit file"
    program, package = "nbdkit", "nbdkit"

    def command(self, _folder, file, path):
        return ["nbdkit", "--foreground", "--unix", str(path), "file", str(file)]


class QemuNbd(Server):
    name = "qemu-nbd"
    program, package = "qemu-nbd", "qemu-utils"

    def command(self, _folder, file, path):
        return ["qemu-nbd", "--persistent", "--format=raw", "--shared=64",
                f"--export-name={VOLUME}", f"--socket={path}", str(file)]


class NbdServer(Server):
    """Goes to the background by itself: in the foreground it serves one client and ends."""

    name = "nbd-server"
    program, package = "nbd-server", "nbd-server"

    def __init__(self, base, size):
        self.pid_file = base / self.program / "pid"
        super().__init__(base, size)

    def command(self, folder, file, path):
        config = folder / "config"
        with contextlib.closing(socket.socket()) as free:   # it insists on a port besides
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config.write_text(f"[generic]\nunixsock = {path}\nport = {port}\n"
                          "listenaddr = 127.0.0.1\n"
                          f"[{VOLUME}]\nexportname = {file}\n", encoding="utf-8")
        return ["nbd-server", "-p", str(self.pid_file), "-C", str(config)]

    def close(self):
        super().close()
        if self.pid_file.exists():
            pid = int(self.pid_file.read_text(encoding="utf-8"))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


class QemuMirrors:
    """Where the mirrors of qemu's parts live: two machines joined as gemel's are, on the second
    the two kinds of peer, each with a file for each of the two kinds of mirror."""

    def __init__(self, binaries, base, size):
        self.size = size
        self.processes = []
        self.port = 10809
        self.lab = Lab(binaries, directory=base)

    def file(self, node, name):
        file = self.lab[node].root / f"{name}.img"
        with open(file, "wb") as made:
            made.truncate(self.size)
        return file

    def spawn(self, node, command, log):
        with open(self.lab[node].root / log, "wb") as output:
            process = self.lab[node].spawn(*command, stdout=output, stderr=output,
                                           stdin=subprocess.DEVNULL)
        self.processes.append(process)

    def peer(self, kind, name):
        """Starts a server of a file on the second machine. Its address, as qemu's options say it,
        and the file."""
        self.port += 1
        address, file = Lab.address("beta"), self.file("beta", name)
        command = {
            "qemu": ["qemu-nbd", "--persistent", "--format=raw", f"--export-name={VOLUME}",
                     f"--bind={address}", f"--port={self.port}", str(file)],
            "nbdkit": ["nbdkit", "--foreground", f"--ipaddr={address}", f"--port={self.port}",
                       "file", str(file)],
        }[kind]
        self.spawn("beta", command, f"{name}.log")
        wait_until(lambda: self.lab["alpha"].inside(
            "nbdinfo", "--size", f"nbd://{address}:{self.port}/{VOLUME}",
            check=False).returncode == 0, f"the peer of {name} does not listen")
        return {"driver": "nbd", "node-name": "remote", "export": VOLUME,
                "server": {"type": "inet", "host": address, "port": str(self.port)}}, file

    def close(self):
        for process in self.processes:
            end(process)
        self.lab.close()


class QemuMirror(Target):
    """qemu-storage-daemon, which writes to a file of its own and to a peer on the other machine."""

    def __init__(self, mirrors, method, peer):
        self.name = f"{method}, {peer}"
        name = f"{method}-{peer}"
        remote, remote_file = mirrors.peer(peer, name)
        file = mirrors.file("alpha", name)
        root = mirrors.lab["alpha"].root
        path, control = root / f"{name}.nbd", root / f"{name}.qmp"
        local = {"driver": "raw", "node-name": "local",
                 "file": {"driver": "file", "filename": str(file)}}
        nodes = [local, remote]
        exported = "local"
        if method == "quorum":
            exported = "both"
            nodes.append({"driver": "quorum", "node-name": exported, "vote-threshold": 2,
                          "children": ["local", "remote"]})
        command = ["qemu-storage-daemon"]
        for node in nodes:
            command += ["--blockdev", json.dumps(node)]
        command += ["--nbd-server", f"addr.type=unix,addr.path={path}", "--export",
                    f"type=nbd,id=export,node-name={exported},name={VOLUME},writable=on",
                    "--chardev", f"socket,id=control,path={control},server=on,wait=off",
                    "--monitor", "chardev=control"]
        mirrors.spawn("alpha", command, f"{name}.log")
        super().__init__(nbd_engine(path), [file, remote_file])
        wait_until(lambda: answers(path), f"{self.name} does not listen")
        if method == "mirror":
            mirror_synchronously(control)


def mirror_synchronously(control):
    """Every write of `local` is answered when `remote` has it too. What is there is not copied:
    both are empty."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.connect(str(control))
        lines = connection.makefile("rw", encoding="utf-8")
        lines.readline()                # the greeting
        for name, arguments in (
                ("qmp_capabilities", {}),
                ("blockdev-mirror", {"job-id": "mirror", "device": "local", "target": "remote",
                                     "sync": "none", "copy-mode": "write-blocking"})):
            lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            lines.flush()
            answer = {}
            while "return" not in answer:
                answer = json.loads(lines.readline())
                if "error" in answer:
                    raise RuntimeError(f"{name}: {answer['error']['desc']}")


MIRRORS = [(method, peer) for method in ("quorum", "mirror") for peer in ("qemu", "nbdkit")]


def missing_for_mirror(peer):
    """Why a mirror with such a peer cannot be made; None when it can."""
    programs = [("qemu-storage-daemon", "qemu-system-common"), ("nbdinfo", "libnbd-bin"),
                ("nbdkit", "nbdkit") if peer == "nbdkit" else ("qemu-nbd", "qemu-utils")]
    return next(filter(None, (without(*program) for program in programs)), None)


def answers(path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True


def wait_until(holds, complaint):
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(0.05)


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
