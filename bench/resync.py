#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-bench resync: how fast two copies become equal, over a real or shaped link between two
network namespaces, beside rsync over the same link in the same run. Without --goals or --plot one
measurement of a volume of your choice; with --goals the whole table of what is aimed at. Both
copies are proved equal after each measurement. Needs root, and rsync. It drops the page cache of
the whole machine."""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import resync_goals  # noqa: E402
import resync_plot  # noqa: E402
import resync_volume as volumes  # noqa: E402
import table  # noqa: E402
from contenders import clean_up_when_terminated, spread_directories  # noqa: E402
from resync_contenders import LINKS, GemelPair, Rsync, disk_rates  # noqa: E402

SIZE_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size_of(text):
    for unit, factor in SIZE_UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def share_of(text):
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("a share lies between 0 and 1, or 0% and 100%")
    return value


def parse(words=None):
    parser = argparse.ArgumentParser(
        prog="gemel-bench resync", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--goals", action="store_true", help="the table of goals")
    add("--rows", metavar="LETTERS", default="abcdeg", help="of the table; f has a million files")
    add("--plot", metavar="DIRECTORY", help="time against size and against change: resync.png and "
        "resync.json there")
    add("--points", type=int, default=5, help="of each line of the plot")
    add("--size", type=size_of, default=8 << 30, help="of the file that is changed: 8GiB")
    add("--files", type=int, default=200_000, help="small files of the table's trees")
    add("--many", type=int, default=1_000_000, help="files of the table's row f")
    add("--tree", type=int, metavar="N", help="N small files instead of one file")
    add("--directory", metavar="DIR", help="a copy of DIR instead; DIR itself is only read")
    add("--change", type=share_of, default=0.01, help="share that is changed: 1%% or 0.01")
    add("--pattern", choices=["blocks", "sequential", "files"], default="blocks",
        help="random blocks of 4 KiB, runs, or whole files")
    add("--known", choices=["dirty", "nothing"], default="dirty",
        help="what gemel knows of the change: its dirty map, or nothing, so that all is compared")
    add("--link", choices=sorted(LINKS), default="none", help="what the link is shaped to")
    add("--compressible", action="store_true", help="data that compress well")
    add("--peer", choices=["rsync", "none"], default="rsync")
    add("--quick", action="store_true", help="small sizes: does everything work?")
    add("--json", metavar="FILE", help="every result")
    add("--dir", metavar="BASE", default="/var/tmp", help="where all the data lie")
    options = parser.parse_args(words)
    if options.quick:
        options.size = min(options.size, 64 << 20)
        options.files, options.many = min(options.files, 400), min(options.many, 2000)
        options.tree = options.tree and min(options.tree, 400)
    options.size = max(1 << 20, options.size >> 20 << 20)
    return options


def volume_of(options):
    if options.directory:
        return volumes.GivenVolume(os.path.abspath(options.directory), options.change,
                                   options.pattern)
    if options.tree:
        return volumes.TreeVolume(options.tree, options.change)
    return volumes.FileVolume(options.size, options.change, options.pattern, options.compressible)


def limits_of(pair, base, seconds, bench):
    """What this machine's parts can do, measured now. Of a tree there is no single file to read."""
    found = {"wire": pair.wire.measure(bench, seconds)}
    source, other = pair.source / "volume", pair.target / "volume"
    if source.exists() and other.exists():
        volumes.drop_caches(base)
        found.update(disk_rates(str(source), str(other), str(base / "scratch")))
    hashed = pair.lab["alpha"].inside(bench, "limits", "--json")
    found["hash"] = json.loads(hashed.stdout)["xxh3_64_gb_per_s"] * 1e9
    return found


def one_measurement(options, base, bench, after_resync):
    """Rows of a single volume: [(contender, result)], and the limits."""
    volume = volume_of(options)
    rows = []
    with contextlib.closing(GemelPair(os.environ["GEMEL_BIN"], base, volume,
                                      options.link)) as pair:
        table.progress(f"made {volume.describe()}")
        first = pair.first_copy()
        after_resync(pair)
        volumes.prove_equal(pair.source, pair.target, "first copy")
        rows.append(("gemel, first copy", first))
        rsync = Rsync(pair, base) if options.peer == "rsync" else None
        if rsync:
            volumes.drop_caches(base)
            rows.append(("rsync, first copy", rsync.run("whole")))
            volumes.prove_equal(pair.source, rsync.copy, "rsync, first copy")
        limits = limits_of(pair, base, 1 if options.quick else 3, bench)
        pair.part()
        volume.change(pair.mount, 1)
        volumes.drop_caches(base)
        rows.append(("gemel", pair.resync(full=options.known == "nothing")))
        after_resync(pair)
        volumes.prove_equal(pair.source, pair.target, "gemel")
        for mode in ("delta", "whole", "checksum") if rsync else ():
            volumes.drop_caches(base)
            rows.append((f"rsync, {mode}", rsync.run(mode)))
            volumes.prove_equal(pair.source, rsync.copy, f"rsync, {mode}")
            volume.undo(rsync.copy)
    return volume, rows, limits


def cells_of(name, result, limits, size):
    """A line of the table of one measurement."""
    def mebibytes(key):
        return f"{result[key] / table.MIB:.1f}" if key in result else "-"
    rate = size / result["seconds"]
    lowest = min(v for k, v in limits.items() if k in ("wire", "hash") or k == "disk_copy")
    return [name, f"{result['seconds']:.2f}",
            f"{result['source_cpu_s']:.2f} / {result['target_cpu_s']:.2f}",
            f"{mebibytes('source_read')} / {mebibytes('target_read')}", mebibytes("hashed"),
            mebibytes("sent"), f"{rate / 1e6:.0f}", f"{rate / lowest:.2f}",
            f"{mebibytes('source_memory')} / {mebibytes('target_memory')}"]


HEAD = ["", "seconds", "CPU s, both sides", "MiB read, both", "MiB hashed", "MiB on the link",
        "MB/s of volume", "of limit", "MiB memory, both"]


def show_limits(limits):
    names = {"wire": "one TCP stream", "hash": "XXH3", "disk_read": "disk, one reader",
             "disk_read_twice": "disk, each of two readers",
             "disk_copy": "disk, a reader and a writer at once"}
    return "limits of this run, MB/s: " + "; ".join(
        f"{names[key]} {value / 1e6:.0f}" for key, value in limits.items())


def main(words=None, after_resync=lambda pair: None):
    """`after_resync(pair)` runs between a resync and its proof."""
    options = parse(words)
    clean_up_when_terminated()
    if os.geteuid() != 0:
        sys.exit("gemel-bench resync: needs root, for namespaces and mounts")
    if options.peer == "rsync" and not shutil.which("rsync"):
        sys.exit("gemel-bench resync: needs rsync (apt-get install rsync), or --peer none")
    bench = str(pathlib.Path(os.environ["GEMEL_BIN"]) / "gemel-bench")
    with tempfile.TemporaryDirectory(prefix="gemel-bench-", dir=options.dir) as name:
        base = pathlib.Path(name)
        spread_directories(base)
        if options.plot:
            everything = resync_plot.run(options, base, after_resync)
        elif options.goals:
            everything = resync_goals.run(options, base, bench, limits_of, after_resync)
        else:
            volume, rows, limits = one_measurement(options, base, bench, after_resync)
            size = sum(stat.st_size for _, stat in volumes.entries(base / "rsync")) \
                if options.peer == "rsync" else options.size
            print(f"{volume.describe()}, {volume.changed_bytes / table.MIB:.1f} MiB changed "
                  f"({options.pattern}), {options.known} known, link {options.link}; caches "
                  "dropped before each but gemel's first copy\n")
            print(table.render(HEAD, [cells_of(n, r, limits, size) for n, r in rows]))
            print(show_limits(limits))
            everything = {"limits": limits, "changed_bytes": volume.changed_bytes,
                          "rows": [{"contender": n, **r} for n, r in rows]}
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(everything, indent=1) + "\n",
                                                  encoding="utf-8")


if __name__ == "__main__":
    main()
