# SPDX-License-Identifier: Apache-2.0
"""The table of goals of gemel-bench resync: each row measured, proved, and put beside its goal.

a  a large file, 1 % of its blocks changed, dirty map known     b  the same, nothing known
c  full copies of incompressible and compressible data          d  few of many small files changed
e  first copy of many small files                               f  a million files
g  an application's writes meanwhile"""

import contextlib
import os

import resync_volume as volumes
import table
from contenders import Bare
from resync_contenders import GemelPair, Rsync

SHARE = 0.01
TREE_SHARE = 0.001
LOAD_SECONDS = 4


class Goals:
    """What is measured: rows of (letter, what, goal, measured text, met or None)."""

    def __init__(self, options, base, bench, limits_of, after_resync):
        self.options = options
        self.base = base
        self.bench = bench
        self.limits_of = limits_of
        self.after_resync = after_resync
        self.binaries = os.environ["GEMEL_BIN"]
        self.rows = []
        self.results = {}

    def wants(self, letters):
        return any(letter in self.options.rows for letter in letters)

    def add(self, letter, what, goal, measured, met):
        self.rows.append([f"({letter}) {what}", goal, measured, table.answer(met)])
        table.progress(f"({letter}) {what}: {measured}")

    def note(self, name, result):
        self.results[name] = result
        table.progress(f"{name}: {result['seconds']:.3f} s, processor "
                       f"{result['source_cpu_s']:.2f} and {result['target_cpu_s']:.2f} s, sent "
                       f"{result['sent'] / 1e6:.1f} MB")
        return result

    def pair(self, volume, link="none"):
        made = GemelPair(self.binaries, self.base, volume, link)
        return contextlib.closing(made)

    def proved(self, pair, name, result):
        self.after_resync(pair)
        volumes.prove_equal(pair.source, pair.target, name)
        return self.note(name, result)

    # --- One large file --------------------------------------------------------------------------

    def large_file(self):
        volume = volumes.FileVolume(self.options.size, SHARE)
        with self.pair(volume) as pair:
            volumes.drop_caches(self.base)
            copy = self.proved(pair, "c: gemel", pair.first_copy())
            self.limits = self.limits_of(pair, self.base, 1 if self.options.quick else 4,
                                         self.bench)
            if self.wants("c"):
                self.full_copy(copy, self.limits)
            rsync = Rsync(pair, self.base)
            volumes.drop_caches(self.base)
            self.note("c: rsync, first copy", rsync.run("whole"))
            if self.wants("ab"):
                self.changed_file(pair, volume, rsync)
            if self.wants("g"):
                self.neighbour(pair, volume)
            volumes.empty(rsync.copy)

    def changed_file(self, pair, volume, rsync):
        if not self.options.quick:
            pair.rest()
        pair.part()
        volume.change(pair.mount, 1)
        volumes.drop_caches(self.base)
        known = self.proved(pair, "a: gemel", pair.resync())
        peers = {}
        for mode in ("whole", "checksum", "delta"):
            volumes.drop_caches(self.base)
            peers[mode] = self.note(f"a, b: rsync, {mode}", rsync.run(mode))
            volumes.prove_equal(pair.source, rsync.copy, f"rsync, {mode}")
            if mode != "delta":
                volume.undo(rsync.copy)
        delta = peers["delta"]
        over = delta["seconds"] / known["seconds"]
        self.add("a", "1 % of blocks, dirty map known", ">= 40x rsync's delta",
                 f"{over:.1f}x ({known['seconds']:.2f} s against {delta['seconds']:.2f} s)",
                 over >= 40)
        share = known["sent"] / volume.changed_bytes
        self.add("a", "... bytes on the link", "<= 1.3x of changed",
                 f"{share:.2f}x (rsync {delta['sent'] / volume.changed_bytes:.2f}x)", share <= 1.3)
        pair.part()
        volume.change(pair.mount, 2)
        volumes.drop_caches(self.base)
        full = self.proved(pair, "b: gemel", pair.resync(full=True))
        over = delta["seconds"] / full["seconds"]
        self.add("b", "... nothing known", ">= 4x rsync's delta",
                 f"{over:.1f}x ({full['seconds']:.2f} s)", over >= 4)
        processor = (full["source_cpu_s"] + full["target_cpu_s"]) / (
            delta["source_cpu_s"] + delta["target_cpu_s"])
        self.add("b", "... processor", "<= 1/4 of rsync's", f"{processor:.3f}", processor <= 0.25)
        rate = volume.size / full["seconds"]
        limit = self.limits["disk_read_twice"]
        self.add("b", "... share of the disk, read twice at once", ">= 0.85",
                 f"{rate / limit:.2f} ({rate / 1e6:.0f} of {limit / 1e6:.0f} MB/s)",
                 rate >= 0.85 * limit)

    def full_copy(self, result, limits):
        rate = self.options.size / result["seconds"]
        limit = min(limits["wire"], limits["disk_copy"])
        self.add("c", "full copy, incompressible, no shaping", ">= 0.85 of wire and disk",
                 f"{rate / limit:.2f} ({rate / 1e6:.0f} MB/s; wire {limits['wire'] / 1e6:.0f}, "
                 f"disk {limits['disk_copy'] / 1e6:.0f})", rate >= 0.85 * limit)

    def shaped_copies(self):
        for link, compressible in (("10Gbit", False), ("1Gbit", True)):
            size = max(1 << 20, self.options.size // 4 >> 20 << 20)
            volume = volumes.FileVolume(size, SHARE, compressible=compressible)
            kind = "compressible" if compressible else "incompressible"
            with self.pair(volume, link) as pair:
                volumes.drop_caches(self.base)
                copy = self.proved(pair, f"c: gemel, {kind}, {link}", pair.first_copy())
                limits = self.limits_of(pair, self.base, 1 if self.options.quick else 3,
                                        self.bench)
                rate = size / copy["seconds"]
                if compressible:
                    self.add("c", f"... {kind}, {link}", "> the wire's rate",
                             f"{rate / 1e6:.0f} MB/s, wire {limits['wire'] / 1e6:.0f}",
                             rate > limits["wire"])
                    continue
                least = min(1.1e9, 0.85 * limits["disk_copy"])
                self.add("c", f"... {kind}, {link}", ">= 1.1 GB/s, or 0.85 of the disk",
                         f"{rate / 1e6:.0f} MB/s (disk {limits['disk_copy'] / 1e6:.0f})",
                         rate >= least)

    def neighbour(self, pair, volume):
        """99 of 100 writes of an application, in sync, alone, and during a full comparison."""
        load = Bare.__new__(Bare)
        load.bench, load.prefix = self.bench, pair.lab["alpha"].prefix()

        def latency(seconds):
            words = ["write4k", "--depth", "1", "--seconds", str(seconds), "--size", "64MiB"]
            return load.result_of(load.start(words, "/mnt/data"), words)

        seconds = 0.5 if self.options.quick else LOAD_SECONDS
        calm = latency(seconds)
        pair.part()
        alone = latency(seconds)
        volume.change(pair.mount, 3)
        volumes.drop_caches(self.base)
        pair.start_resync(full=True)
        busy = latency(seconds)
        during = pair.lab.state("beta") == "resync"
        pair._wait_pair()
        self.after_resync(pair)
        volumes.prove_equal(pair.source, pair.target, "g")
        self.results["g"] = {"in_sync": calm, "alone": alone, "during": busy,
                             "lasted": during}
        ratio = busy["p99_us"] / calm["p99_us"]
        self.add("g", "p99 of 4 KiB writes during a full compare", "<= 1.5x of in sync",
                 f"{ratio:.2f}x ({busy['p99_us']:.0f} us; in sync {calm['p99_us']:.0f}, alone "
                 f"{alone['p99_us']:.0f})" + ("" if during else "; the resync ended before it"),
                 ratio <= 1.5 if during else None)

    # --- Small files -----------------------------------------------------------------------------

    def small_files(self, files, letters):
        volume = volumes.TreeVolume(files, TREE_SHARE)
        with self.pair(volume) as pair:
            volumes.drop_caches(self.base)
            name = letters[0]
            copy = self.proved(pair, f"{name}: gemel, first copy", pair.first_copy())
            if "e" in letters:
                rsync = Rsync(pair, self.base)
                volumes.drop_caches(self.base)
                peer = self.note("e: rsync -a", rsync.run("whole"))
                volumes.prove_equal(pair.source, rsync.copy, "rsync")
                volumes.empty(rsync.copy)
                over = peer["seconds"] / copy["seconds_from_start"]
                self.add("e", f"first copy of {files} files, from the start",
                         ">= 1.5x rsync -a", f"{over:.2f}x ({copy['seconds_from_start']:.2f} s "
                         f"against {peer['seconds']:.2f} s)", over >= 1.5)
            pair.part()
            volume.change(pair.mount, 1)
            delta = self.proved(pair, f"{name}: gemel, {volume.count} changed", pair.resync())
            return volume, copy, delta

    def few_of_many(self, letters):
        files = self.options.files
        volume, _, delta = self.small_files(files, letters)
        if not self.wants("d"):
            return
        alone = volumes.TreeVolume(files, TREE_SHARE, alone=True)
        with self.pair(alone) as pair:
            pair.first_copy()
            pair.part()
            alone.change(pair.mount, 1)
            few = self.proved(pair, "d: gemel, the same alone", pair.resync())
        ratio = delta["seconds"] / few["seconds"]
        self.add("d", f"{volume.count} of {files} files changed", "<= 2x of these alone",
                 f"{ratio:.2f}x ({delta['seconds']:.3f} s against {few['seconds']:.3f} s)",
                 ratio <= 2)

    def very_many(self):
        files = self.options.many
        volume, copy, delta = self.small_files(files, "f")
        self.add("f", f"{volume.count} of {files} files changed", "< 2 s",
                 f"{delta['seconds']:.3f} s", delta["seconds"] < 2)
        memory = max(result[side] for result in (copy, delta)
                     for side in ("source_memory", "target_memory"))
        self.add("f", "... peak memory of a node", "< 256 MiB", f"{memory / table.MIB:.1f} MiB",
                 memory < 256 * table.MIB)


def run(options, base, bench, limits_of, after_resync):
    goals = Goals(options, base, bench, limits_of, after_resync)
    if goals.wants("abcg"):
        goals.large_file()
    if goals.wants("c"):
        goals.shaped_copies()
    if goals.wants("de"):
        goals.few_of_many("".join(letter for letter in "ed" if letter in options.rows))
    if goals.wants("f"):
        goals.very_many()
    print(table.render(["work", "goal", "measured", "met"], goals.rows))
    print("\nPage caches were dropped before each measurement but (d) and (f), whose few files the "
          "application has just written.\nBoth copies of a mirror lie on this one disk. rsync's "
          "time ends when it exits, gemel's when both\ncopies are synced. Every copy was proved "
          "equal.")
    return {"goals": goals.rows, "results": goals.results,
            "limits": getattr(goals, "limits", None)}
