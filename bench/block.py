#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-bench block: the same loads, by NBD on a unix socket, on a mirror of two gemel nodes in
network namespaces, on mirrors made of qemu's parts and (what reads) on servers without replication,
where those are installed; and on the backing file itself. All lie on one file system, and each
round measures one after the other, so that a noisy machine is as noisy for each. Needs root, and
fio with its nbd engine."""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import table  # noqa: E402
from block_contenders import (MIRRORS, Bare, BareTwice, GemelVolumes, NbdkitFile,  # noqa: E402
                              NbdServer, QemuMirror, QemuMirrors, QemuNbd, missing_for_mirror,
                              without)
from contenders import clean_up_when_terminated, spread_directories  # noqa: E402

MIB = 1 << 20
SIZE_OF_MANY = 32 * MIB     # of each volume but the first
ONE, ALL = "one volume", "a volume each"
SMALL = ["--bs=4k", "--norandommap"]
SERVERS = (NbdkitFile, QemuNbd, NbdServer)


class Work:
    """A row of the table."""

    def __init__(self, title, words, goal, figure="ops_per_s", of_limit=None, reads=False,
                 uncached=False):
        self.title = title
        self.words = words          # fio's
        self.figure = figure
        self.goal = goal            # times the best peer
        self.of_limit = of_limit    # and this share of what disk and link allow
        self.reads = reads          # the peers are servers without replication
        self.uncached = uncached    # nothing of the backings is in the page cache

    def met(self, over_limit, over_peer):
        """Whether the goal is reached; None without a peer."""
        if over_peer is None:
            return None
        return over_peer >= self.goal and (self.of_limit is None or over_limit >= self.of_limit)

    def goal_text(self):
        also = f", {self.of_limit} of limit" if self.of_limit else ""
        return f">= {self.goal}x{also}"


def works():
    return [
        Work("4 KiB write, depth 1", ["--rw=randwrite", "--iodepth=1", *SMALL], 2),
        Work("4 KiB write, depth 32", ["--rw=randwrite", "--iodepth=32", *SMALL], 4),
        Work("128 KiB sequential write, depth 8, bytes",
             ["--rw=write", "--iodepth=8", "--bs=128k"], 2.5, "bytes_per_s", of_limit=0.7),
        Work("4 KiB read, depth 1", ["--rw=randread", "--iodepth=1", *SMALL], 1, reads=True),
        Work("4 KiB read, depth 32", ["--rw=randread", "--iodepth=32", *SMALL], 1, reads=True),
        Work("4 KiB read, depth 1, uncached", ["--rw=randread", "--iodepth=1", *SMALL], 1,
             reads=True, uncached=True),
        Work("4 KiB read, depth 32, uncached", ["--rw=randread", "--iodepth=32", *SMALL], 1,
             reads=True, uncached=True),
    ]


def parse():
    parser = argparse.ArgumentParser(
        prog="gemel-bench block", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=float, help="of each measurement", default=4)
    add("--rounds", type=int, help="how often everything is measured", default=3)
    add("--size-mib", type=int, help="size of the volume", default=512)
    add("--volumes", type=int, help="active at once in the last row", default=32)
    add("--only", metavar="TEXT", help="rows whose name has TEXT")
    add("--peer", choices=["all", "none"], help="what gemel is compared with", default="all")
    add("--quick", action="store_true", help="less of everything: two minutes, no figures to keep")
    add("--json", metavar="FILE", help="every single result")
    add("--dir", metavar="BASE", help="where all the data lie", default="/var/tmp")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = min(options.seconds, 0.5), min(options.rounds, 2)
        options.size_mib = min(options.size_mib, 64)
    return options


def available(missing, what):
    if missing:
        table.progress(f"without {what}: {missing}")
    return not missing


def make_peers(options, binaries, base, stack):
    """The mirrors, and the servers; what is not installed is left out."""
    size = options.size_mib * MIB
    mirrors, servers = [], []
    if options.peer == "none":
        return mirrors, servers
    possible = [(method, peer) for method, peer in MIRRORS
                if available(missing_for_mirror(peer), f"{method}, {peer}")]
    if possible:
        machines = QemuMirrors(binaries, base, size)
        stack.callback(machines.close)
        mirrors = [QemuMirror(machines, *kind) for kind in possible]
    for server in SERVERS:
        if available(server.missing(), server.name):
            servers.append(server(base, size))
            stack.callback(servers[-1].close)
    return mirrors, servers


class Run:
    """What is measured in one run, and what came out."""

    def __init__(self, options, base):
        self.options = options
        self.base = base
        self.size = options.size_mib * MIB
        self.works = [w for w in works() if not options.only or options.only in w.title]
        self.sizes = [self.size] + [min(self.size, SIZE_OF_MANY)] * (options.volumes - 1)
        self.many_title = f"4 KiB write, depth 1, {options.volumes} clients"
        self.many = not options.only or options.only in self.many_title
        self.results = {}       # title -> contender's name -> a result of each round

    def timed(self, words):
        return [*words, "--time_based", f"--runtime={int(self.options.seconds * 1000)}ms"]

    def fill(self, targets, gemel):
        """No measured write finds a hole."""
        words = ["--rw=write", "--bs=1M", "--iodepth=1"]
        for target in targets:
            target.load([*words, f"--size={self.size}"])
        for number in range(1, len(self.sizes) if self.many else 1):
            gemel.load_each([number], words)

    def measure(self, title, name, load, figure="ops_per_s"):
        subprocess.run(["sync", "-f", str(self.base)], check=True)
        result = load()
        self.results.setdefault(title, {}).setdefault(name, []).append(result)
        table.progress(f"{title}: {name}: {table.rate(result[figure])}/s")

    def measure_work(self, work, targets):
        words = self.timed([*work.words, f"--size={self.size}"])
        for target in targets:
            if work.uncached:
                subprocess.run(["sync", "-f", str(self.base)], check=True)
                target.forget_cached()
            self.measure(work.title, target.name, lambda t=target: t.load(words), work.figure)

    def measure_many(self, gemel):
        words = self.timed(["--rw=randwrite", "--iodepth=1", *SMALL])
        for name, numbers in ((ONE, [0] * len(self.sizes)), (ALL, range(len(self.sizes)))):
            self.measure(self.many_title, name, lambda n=numbers: gemel.load_each(n, words))

    def figures(self, title, name, key):
        return [result[key] for result in self.results[title].get(name, [])]


def best(run, work, names):
    """Of these contenders the one with the best median, and its figures."""
    rivals = {name: run.figures(work.title, name, work.figure) for name in names}
    rivals = {name: figures for name, figures in rivals.items() if figures}
    if not rivals:
        return "-", []
    name = max(rivals, key=lambda one: statistics.median(rivals[one]))
    return name, rivals[name]


def show(run, mirrors, servers, machine):
    rates, latencies = [], []
    for work in run.works:
        gemel = run.figures(work.title, "gemel", work.figure)
        limit = run.figures(work.title, "bare" if work.reads else "bare twice", work.figure)
        allowed = limit
        if work.figure == "bytes_per_s":
            allowed = [min(value, machine["stream_gb_per_s"] * 1e9) for value in limit]
        peers = [peer.name for peer in (servers if work.reads else mirrors)]
        rival, figures = best(run, work, peers)
        over_limit, over_peer = table.ratio(gemel, allowed), table.ratio(gemel, figures)
        rates.append([work.title, table.spread(gemel), table.spread(figures), rival,
                      table.spread(limit), table.times(over_limit), table.times(over_peer),
                      work.goal_text(), table.answer(work.met(over_limit, over_peer))])
        latencies.append([work.title] + [
            " / ".join(table.median(run.figures(work.title, name, key))
                       for key in ("p50_us", "p99_us"))
            for name in ("gemel", rival)])
    if run.many:
        one, every = (run.figures(run.many_title, name, "ops_per_s") for name in (ONE, ALL))
        over_one = table.ratio(every, one)
        rates.append([run.many_title, table.spread(every), table.spread(one), ONE, "-", "-",
                      table.times(over_one), ">= 1x", table.answer(over_one >= 1)])
    print("a second: median (least..most)\n")
    print(table.render(["workload", "gemel", "best peer", "which", "limit", "gemel/limit",
                        "gemel/peer", "goal", "met"], rates))
    print("limit: two files at once past the page cache (both copies lie on this disk); of reads: "
          "one")
    print("\nmicroseconds a request: median / 99 of 100\n")
    print(table.render(["workload", "gemel", "best peer"], latencies))


def show_peers(run, peers):
    """Every peer, so that it can be seen how far they lie apart."""
    rows = []
    for work in run.works:
        for peer in peers:
            figures = run.figures(work.title, peer.name, work.figure)
            if figures:
                rows.append([work.title, peer.name, table.spread(figures), table.median(
                    run.figures(work.title, peer.name, "p50_us"))])
    if rows:
        print("\nthe peers\n")
        print(table.render(["workload", "peer", "a second", "median us"], rows))


def main():
    options = parse()
    clean_up_when_terminated()
    if os.geteuid() != 0:
        sys.exit("gemel-bench block: needs root, for namespaces and mounts")
    no_fio = without("fio", "fio")
    if no_fio:
        sys.exit(f"gemel-bench block: {no_fio}")
    binaries = pathlib.Path(os.environ["GEMEL_BIN"])
    with contextlib.ExitStack() as stack:
        base = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="gemel-bench-", dir=options.dir)))
        spread_directories(base)
        run = Run(options, base)
        gemel = GemelVolumes(binaries, base, run.sizes)
        stack.callback(gemel.close)
        mirrors, servers = make_peers(options, binaries, base, stack)
        bare, twice = Bare(base), BareTwice(base)
        machine = gemel.nodes.limits(base)
        run.fill([bare, twice, gemel, *mirrors, *servers], gemel)
        for _ in range(options.rounds):
            for work in run.works:
                run.measure_work(work, [bare, gemel, *servers] if work.reads else
                                 [bare, twice, gemel, *mirrors])
            if run.many:
                run.measure_many(gemel)
        memory = gemel.nodes.memory()
        show(run, mirrors, servers, machine)
        show_peers(run, [*mirrors, *servers])
        print(table.limits(machine))
        print(table.memory(memory))
        if options.json:
            everything = {"limits": machine, "memory": memory, "results": run.results}
            pathlib.Path(options.json).write_text(json.dumps(everything, indent=1) + "\n",
                                                  encoding="utf-8")


if __name__ == "__main__":
    main()
