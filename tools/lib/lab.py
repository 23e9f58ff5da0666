# SPDX-License-Identifier: Apache-2.0
"""Two gemel nodes, a witness and a client on one machine, each in a network and a mount namespace
of its own, so that every node sees its own data at the same path, as two machines would. The demo,
the scenario tests and the benchmarks drive the real programs through it. Needs root. More clusters
of two nodes can be added; they share the networks and the witness.

Two networks join the nodes: 10.77.0.0/24 carries data and clients, 10.77.1.0/24 is the second link.
Everything is removed by Lab.close(); processes are ended by pid, never by name."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ADDRESSES = {"alpha": 1, "beta": 2, "gamma": 3, "delta": 4, "witness": 9, "etcd1": 11, "etcd2": 12,
             "etcd3": 13, "client": 20}
CLUSTER = "lab"
NODES = ("alpha", "beta")
ETCD = ("etcd1", "etcd2", "etcd3")     # there with arbiter="etcd"
DATA_PATH = "/mnt/data"     # the mirrored directory, at the same path on both nodes
VIRTUAL_IP = "10.77.0.50"
CHECK_INTERVAL_S = 0.02
STATUS_S = 5          # gemeld answers within that, or does not


def run(*command, check=True, **options):
    """Runs a command, output captured as text."""
    return subprocess.run(command, check=check, text=True, capture_output=True, **options)


class ControlConnection(http.client.HTTPConnection):
    """To a gemeld by its control socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=STATUS_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Machine:
    """A network and mount namespace held open by a sleeping process."""

    def __init__(self, name, root):
        self.name = name
        self.root = root                       # this machine's own files
        self.root.mkdir(parents=True)
        self.daemon = None
        self.daemon_log = self.root / "gemeld.log"
        self.config = None                     # what its gemeld is started with
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sleep", "infinity"])
        self._wait_for_namespace()
        self.inside("ip", "link", "set", "lo", "up")
        mnt = self.root / "mnt"
        (mnt / "data").mkdir(parents=True)
        self.inside("mount", "--bind", str(mnt), "/mnt")

    def _wait_for_namespace(self):
        ours = os.readlink("/proc/self/ns/mnt")
        while os.readlink(f"/proc/{self.holder.pid}/ns/mnt") == ours:
            time.sleep(0.005)

    @property
    def bare(self):
        """The mirrored directory below every mount, as this machine's disk holds it."""
        return self.root / "mnt" / "data"

    @property
    def state(self):
        return self.root / "state"

    @property
    def run_directory(self):
        return self.root / "run"

    def prefix(self):
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", "--"]

    def inside(self, *command, check=True, **options):
        return run(*self.prefix(), *command, check=check, **options)

    def spawn(self, *command, **options):
        return subprocess.Popen([*self.prefix(), *command], **options)

    def close(self):
        self.kill_daemon()
        if self.holder.poll() is None:
            # Lazily, so that a dead mount cannot keep the namespace's processes waiting.
            for path in reversed(self.mounts_below("/mnt") + self.mounts_below(str(self.root))):
                self.inside("umount", "-l", path, check=False)
            self.holder.kill()
        self.holder.wait()

    def mounts_below(self, path):
        with open(f"/proc/{self.holder.pid}/mounts", encoding="utf-8") as mounts:
            points = [line.split()[1] for line in mounts]
        return [p for p in points if p.startswith(path + "/") or p == path]

    def start_daemon(self, binary, *arguments):
        assert self.daemon is None or self.daemon.poll() is not None
        log = open(self.daemon_log, "ab")
        with log:
            self.daemon = self.spawn(str(binary), *arguments, stdout=log, stderr=log,
                                     stdin=subprocess.DEVNULL)

    def kill_daemon(self, how=signal.SIGKILL):
        """Ends gemeld; SIGKILL is the crash of the process."""
        if self.daemon is None:
            return
        if self.daemon.poll() is None:
            self.daemon.send_signal(how)
        self.daemon.wait()
        self.daemon = None


class Lab:
    def __init__(self, binaries, directory=None, arbiter="witness", mirror="", failover="",
                 volumes=f'directories = ["{DATA_PATH}"]'):
        self.binaries = pathlib.Path(binaries).resolve()
        installed = self.binaries.parent / "sbin" / "gemeld"
        built = self.binaries / "gemeld"
        self.gemeld = built if built.exists() else installed
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gemel-lab-", dir=directory))
        self.machines = {}
        self.switch = None
        try:
            self.switch = Machine("switch", self.root / "switch")
            for network in (0, 1):
                self.switch.inside("ip", "link", "add", f"br{network}", "type", "bridge")
                self.switch.inside("ip", "link", "set", f"br{network}", "up")
            for name in (*NODES, "witness", "client", *(ETCD if arbiter == "etcd" else ())):
                self._add_machine(name)
            self.config = self.root / "gemel.toml"
            self._write_config(self.config, CLUSTER, NODES, arbiter, mirror, failover, volumes)
            for name in (*NODES, "witness"):
                self.machines[name].config = self.config
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, name):
        return self.machines[name]

    @staticmethod
    def address(name, network=0):
        return f"10.77.{network}.{ADDRESSES[name]}"

    def close(self):
        for machine in [*self.machines.values(), *([self.switch] if self.switch else [])]:
            machine.close()
        self.machines = {}
        self.switch = None
        shutil.rmtree(self.root, ignore_errors=True)

    def _add_machine(self, name):
        machine = Machine(name, self.root / name)
        self.machines[name] = machine
        for network in (0, 1):
            port = f"{name}{network}"
            device = f"net{network}"
            self.switch.inside("ip", "link", "add", port, "type", "veth", "peer", "name", device,
                               "netns", str(machine.holder.pid))
            self.switch.inside("ip", "link", "set", port, "master", f"br{network}", "up")
            address = f"10.77.{network}.{ADDRESSES[name]}/24"
            machine.inside("ip", "address", "add", address, "dev", device)
            machine.inside("ip", "link", "set", device, "up")

    def add_cluster(self, cluster, nodes):
        """Two more nodes, a cluster of their own. Its configuration lies beside the first one's in
        clusters/, which the witness is given from now on."""
        folder = self.root / "clusters"
        if not folder.exists():
            folder.mkdir()
            os.symlink(self.config, folder / f"{CLUSTER}.toml")
            self.machines["witness"].config = folder
        config = folder / f"{cluster}.toml"
        self._write_config(config, cluster, nodes, "witness", "", "",
                           f'directories = ["{DATA_PATH}"]')
        for name in nodes:
            self._add_machine(name)
            self.machines[name].config = config

    def _write_config(self, config, cluster, nodes, arbiter, mirror, failover, volumes):
        key = config.parent / ("cluster.key" if cluster == CLUSTER else f"{cluster}.key")
        run(str(self.binaries / "gemel"), "keygen", str(key))
        lines = ["[cluster]", f'name = "{cluster}"', f'key = "{key}"']
        for name in nodes:
            links = ", ".join(f'"10.77.{network}.{ADDRESSES[name]}:7800"' for network in (0, 1))
            lines += [f"[node.{name}]", f"links = [{links}]"]
        lines += ["[failover]", failover or 'heartbeat = "100ms"\ndetect = "1s"']
        lines += ["[arbiter]", f'kind = "{arbiter}"']
        if arbiter == "witness":
            lines += [f'address = "10.77.0.{ADDRESSES["witness"]}:7801"']
        elif arbiter == "etcd":
            lines += [f"address = {json.dumps([f'10.77.0.{ADDRESSES[m]}:2379' for m in ETCD])}"]
        elif arbiter == "ping":
            lines += [f'address = "{self.address("client")}"']
        lines += ["[mirror.data]", f'nodes = ["{nodes[0]}", "{nodes[1]}"]',
                  volumes, mirror]
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    # --- Daemons -----------------------------------------------------------------------------

    def start(self, *names):
        for name in names or ("witness", *NODES):
            machine = self.machines[name]
            arguments = ["--config", str(machine.config), "--state", str(machine.state),
                         "--run", str(machine.run_directory)]
            arguments += ["--witness"] if name == "witness" else ["--node", name]
            machine.start_daemon(self.gemeld, *arguments)

    def gemel(self, node, *arguments, check=True):
        machine = self.machines[node]
        return machine.inside(str(self.binaries / "gemel"), "--run", str(machine.run_directory),
                              *arguments, check=check)

    def status(self, node):
        """The mirror's object of `gemel status --json`, or None without a daemon. Asked without a
        process each time: waiting is most of a test, and all machines share one's processors."""
        connection = ControlConnection(self[node].run_directory / "control.sock")
        try:
            connection.request("GET", "/v1/status/data")
            return json.load(connection.getresponse())["mirrors"][0]
        except (OSError, http.client.HTTPException, LookupError):
            return None
        finally:
            connection.close()

    def state(self, node):
        status = self.status(node)
        return status["state"] if status else None

    def wait_state(self, node, *states, timeout=30):
        """Returns the state reached; fails with both nodes' logs when none is in time."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            state = self.state(node)
            if state in states:
                return state
            time.sleep(CHECK_INTERVAL_S)
        raise AssertionError(f"{node} is {self.state(node)!r}, not {' or '.join(states)}, after "
                             f"{timeout} s\n{self.threads()}\n{self.logs()}")

    def wait_for(self, holds, timeout, describe):
        """Waits until `holds()`; fails with what `describe()` says and both nodes' logs."""
        end = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"not after {timeout} s: {describe()}\n{self.threads()}\n"
                                     f"{self.logs()}")
            time.sleep(CHECK_INTERVAL_S)

    def wait_pair(self, timeout=60, nodes=NODES):
        """Waits until one node is primary and the other secondary; returns (primary, secondary)."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            states = {name: self.state(name) for name in nodes}
            if sorted(map(str, states.values())) == ["primary", "secondary"]:
                return tuple(sorted(states, key=lambda name: states[name]))
            time.sleep(CHECK_INTERVAL_S)
        raise AssertionError(f"no primary and secondary after {timeout} s: {states}\n"
                             f"{self.threads()}\n{self.logs()}")

    def threads(self):
        """Where every thread of every daemon is now, for the text of a failure: a daemon that says
        nothing any more leaves no other trace."""
        text = []
        for name, machine in self.machines.items():
            if machine.daemon is None or machine.daemon.poll() is not None:
                continue
            pid = machine.daemon.pid
            text += [f"--- threads of {name}'s gemeld, {pid}"]
            for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir()):
                for file in ("wchan", "syscall", "stack"):
                    with contextlib.suppress(OSError):
                        text += [f"{task.name} {file}: {(task / file).read_text().strip()}"]
            if shutil.which("gdb"):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    text += [run("gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt",
                                 check=False, timeout=60).stdout]
        return "\n".join(text)

    def logs(self, lines=40):
        text = []
        for name, machine in self.machines.items():
            if machine.daemon_log.exists():
                tail = machine.daemon_log.read_text(errors="replace").splitlines()[-lines:]
                text += [f"--- {name}", *tail]
        return "\n".join(text)

    # --- Faults ------------------------------------------------------------------------------

    def cut(self, source, target=None):
        """Drops what `source` sends (to `target`, or to everybody), on both networks."""
        machine = self.machines[source]
        rules = ("add table inet cut; "
                 "add chain inet cut out { type filter hook output priority 0; };")
        for network in (0, 1):
            to = f"ip daddr 10.77.{network}.{ADDRESSES[target]} " if target else ""
            rules += f"add rule inet cut out oifname net{network} {to}drop;"
        machine.inside("nft", rules)

    def heal(self, *sources):
        for source in sources or self.machines:
            self.machines[source].inside("nft", "delete table inet cut", check=False)

    def isolate(self, node):
        """Both directions between `node` and everybody else."""
        for network in (0, 1):
            self.switch.inside("ip", "link", "set", f"{node}{network}", "down")

    def rejoin(self, node):
        for network in (0, 1):
            self.switch.inside("ip", "link", "set", f"{node}{network}", "up")

    @contextlib.contextmanager
    def explained(self):
        """Shows the daemons' logs when the block fails."""
        try:
            yield self
        except BaseException:
            print(self.logs(), file=sys.stderr)
            raise


def default_binaries():
    return os.environ.get("GEMEL_BIN") or str(
        pathlib.Path(__file__).resolve().parents[2] / "build" / "dev" / "bin")
