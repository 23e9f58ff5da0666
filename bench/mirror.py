#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-bench mirror: the same workloads on the bare file system, there twice at once (what changes
data, as both copies lie on one disk), on a gemel mirror of two nodes in network namespaces, and on
GlusterFS replica 2 where it is installed, all on one file system, each round one after the other,
so that a noisy machine is as noisy for each. Needs root."""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import gluster  # noqa: E402
import table  # noqa: E402
from contenders import (Bare, BareTwice, Gemel, clean_up_when_terminated,  # noqa: E402
                        spread_directories)

MIB = 1 << 20


class Work:
    """A row of the table: a load, the figure of it that counts, and the goal."""

    def __init__(self, title, load, figure, goal=None, of_limit=None, changes=True):
        self.title = title
        self.load = load
        self.figure = figure        # key of the load's JSON
        self.goal = goal            # times GlusterFS
        self.of_limit = of_limit    # or this share of "bare twice", where the disk is short
        self.changes = changes      # data, so that there is a limit

    def met(self, over_limit, over_peer):
        """Whether a goal is reached; None without one, or without the peer."""
        if self.goal is None or over_peer is None:
            return None
        reached = over_peer >= self.goal
        if self.of_limit is not None:
            reached = reached or over_limit >= self.of_limit
        return reached

    def goal_text(self):
        if self.goal is None:
            return "-"
        return f">= {self.goal}x" + (f" or {self.of_limit} twice" if self.of_limit else "")


def works(options):
    repeat = ["--seconds", str(options.seconds)]
    files = ["--keep", "--count"]
    stream, pool = str(options.stream_mib * MIB), str(options.pool_mib * MIB)
    return [
        Work("4 KiB write, depth 1", ["write4k", *repeat], "ops_per_s", 8),
        Work("4 KiB write, 16 writers", ["write4k", "--depth", "16", *repeat], "ops_per_s", 15),
        Work("4 KiB write, 16 writers, one file", ["write4k", "--depth", "16", "--shared", *repeat],
             "ops_per_s"),
        Work("4 KiB write + fsync", ["write4k-fsync", *repeat], "ops_per_s", 4),
        Work("1 MiB sequential write, bytes", ["seq1m", "--size", stream], "bytes_per_s", 6, 0.8),
        Work("4 KiB read, cached", ["read4k-cached", *repeat], "ops_per_s",
             changes=False),
        Work("4 KiB read, uncached", ["read4k-uncached", "--size", pool, *repeat],
             "ops_per_s", 3, changes=False),
        Work("sequential read, bytes", ["seqread", "--size", stream], "bytes_per_s",
             changes=False),
        Work(f"create {options.files} files", ["create", *files, str(options.files)],
             "ops_per_s", 15),
        Work(f"untar of {options.untar} files", ["untar", *files, str(options.untar)],
             "ops_per_s", 15),
    ]


def parse():
    parser = argparse.ArgumentParser(
        prog="gemel-bench mirror", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=float, help="of each workload that repeats one operation", default=4)
    add("--rounds", type=int, help="how often everything is measured", default=3)
    add("--files", type=int, help="of the creation", default=10_000)
    add("--untar", type=int, help="files in the archive", default=20_000)
    add("--stream-mib", type=int, help="size of the files used sequentially", default=512)
    add("--pool-mib", type=int, help="size of the file of uncached reads", default=1024)
    add("--only", metavar="TEXT", help="rows whose name has TEXT")
    add("--peer", choices=["gluster", "none"], help="what gemel is compared with",
        default="gluster")
    add("--quick", action="store_true", help="less of everything: two minutes, no figures to keep")
    add("--json", metavar="FILE", help="every single result")
    add("--dir", metavar="BASE", help="where all the data lie", default="/var/tmp")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = min(options.seconds, 0.5), min(options.rounds, 2)
        options.files, options.untar = min(options.files, 200), min(options.untar, 200)
        options.stream_mib = min(options.stream_mib, 32)
        options.pool_mib = min(options.pool_mib, 64)
    return options


def measure(options, contenders, base):
    """title -> contender's name -> results of all rounds."""
    chosen = [w for w in works(options) if not options.only or options.only in w.title]
    results = {work.title: {c.name: [] for c in contenders} for work in chosen}
    for number in range(options.rounds):
        for work in chosen:
            for contender in contenders:
                if contender.name == BareTwice.name and not work.changes:
                    continue
                subprocess.run(["sync", "-f", str(base)], check=True)
                result = contender.load(work.load)
                result["bytes_per_s"] = result["bytes"] / result["seconds"]
                results[work.title][contender.name].append(result)
                table.progress(f"round {number + 1}: {work.title}: {contender.name}: "
                               f"{table.rate(result[work.figure])}/s")
    return chosen, results


def show(chosen, results):
    names = ("bare", "bare twice", "gemel", "gluster")
    heads = ("bare", "bare twice", "gemel", "GlusterFS")

    def figures(work, name, key):
        return [result[key] for result in results[work.title].get(name, [])]

    rates, latencies = [], []
    for work in chosen:
        bare, twice, gemel, peer = (figures(work, name, work.figure) for name in names)
        over_limit, over_peer = table.ratio(gemel, twice or bare), table.ratio(gemel, peer)
        rates.append([work.title, *map(table.spread, (bare, twice, gemel, peer)),
                      table.times(over_limit), table.times(over_peer), work.goal_text(),
                      table.answer(work.met(over_limit, over_peer))])
        if any(figures(work, "bare", "max_us")):
            latencies.append([work.title] + [
                " / ".join(table.median(figures(work, name, key)) for key in ("p50_us", "p99_us"))
                if figures(work, name, "p50_us") else "-" for name in names])
    print("a second: median (least..most)\n")
    print(table.render(["workload", *heads, "gemel/limit", "gemel/gluster", "goal", "met"], rates))
    print("limit: bare twice (both copies lie on this disk); of reads: bare")
    print("\nmicroseconds an operation: median / 99 of 100\n")
    print(table.render(["workload", *heads], latencies))


def main():
    options = parse()
    clean_up_when_terminated()
    if os.geteuid() != 0:
        sys.exit("gemel-bench mirror: needs root, for namespaces and mounts")
    binaries = pathlib.Path(os.environ["GEMEL_BIN"])
    with contextlib.ExitStack() as stack:
        base = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="gemel-bench-", dir=options.dir)))
        spread_directories(base)
        gemel = Gemel(binaries, base)
        stack.callback(gemel.close)
        contenders = [Bare(binaries, base), BareTwice(binaries, base), gemel]
        if options.peer == "gluster":
            missing = gluster.missing()
            if missing:
                table.progress(f"without GlusterFS: {missing}")
            else:
                contenders.append(gluster.Gluster(binaries, base))
                stack.callback(contenders[-1].close)
        machine = gemel.nodes.limits(base)
        chosen, results = measure(options, contenders, base)
        memory = gemel.nodes.memory()
        show(chosen, results)
        print(table.limits(machine))
        print(table.memory(memory))
        if options.json:
            everything = {"limits": machine, "memory": memory, "results": results}
            pathlib.Path(options.json).write_text(json.dumps(everything, indent=1) + "\n",
                                                  encoding="utf-8")


if __name__ == "__main__":
    main()
