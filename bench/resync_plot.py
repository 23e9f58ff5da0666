# SPDX-License-Identifier: Apache-2.0
"""The plot of gemel-bench resync: seconds against the size of a volume at fixed change, and
against the share that is changed at fixed size, of gemel and of rsync; resync.png and its data."""

import contextlib
import json
import os
import pathlib

import resync_volume as volumes
import table
from resync_contenders import GemelPair, Rsync

FIXED_CHANGE = 16 << 20     # bytes, against the size
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
LINES = {"gemel, dirty map known": "o-", "gemel, nothing known": "s-", "rsync, delta": "^--"}


def measure(options, base, volume, after_resync):
    """Seconds of each line for one change of the volume."""
    seconds = {}
    with contextlib.closing(GemelPair(os.environ["GEMEL_BIN"], base, volume,
                                      options.link)) as pair:
        pair.first_copy()
        rsync = Rsync(pair, base) if options.peer == "rsync" else None
        if rsync:
            volumes.empty(rsync.copy)
            rsync.run("whole")
        for version, full in ((1, False), (2, True)):
            if not full:
                pair.rest()
            pair.part()
            volume.change(pair.mount, version)
            volumes.drop_caches(base)
            name = "gemel, nothing known" if full else "gemel, dirty map known"
            seconds[name] = pair.resync(full=full)["seconds"]
            after_resync(pair)
            volumes.prove_equal(pair.source, pair.target, name)
            if rsync and not full:
                volumes.drop_caches(base)
                seconds["rsync, delta"] = rsync.run("delta")["seconds"]
                volumes.prove_equal(pair.source, rsync.copy, "rsync, delta")
        if rsync:
            volumes.empty(rsync.copy)
    return seconds


def series(options, base, after_resync):
    by_size, by_change = [], []
    points = max(2, options.points)
    for step in reversed(range(points)):
        size = max(1 << 20, options.size >> 20 + step << 20)
        change = min(1.0, min(FIXED_CHANGE, options.size // 16) / size)
        volume = volumes.FileVolume(size, change)
        by_size.append({"size": size, **measure(options, base, volume, after_resync)})
        table.progress(f"plot: {by_size[-1]}")
    size = max(1 << 20, options.size >> 22 << 20)
    for index in range(points):
        share = SHARES[round(index * (len(SHARES) - 1) / (points - 1))]
        volume = volumes.FileVolume(size, share)
        by_change.append({"share": share, **measure(options, base, volume, after_resync)})
        table.progress(f"plot: {by_change[-1]}")
    return {"size_of_change": min(FIXED_CHANGE, options.size // 16), "by_size": by_size,
            "fixed_size": size, "by_change": by_change, "link": options.link}


def draw(data, path):
    """Errors: ImportError without python3-matplotlib."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2))
    mib = 1 << 20
    panels = (
        (axes[0], data["by_size"], [p["size"] / mib for p in data["by_size"]],
         "size of the volume, MiB", f"{data['size_of_change'] // mib} MiB changed"),
        (axes[1], data["by_change"], [p["share"] * 100 for p in data["by_change"]],
         "share of 4 KiB blocks changed, %", f"a volume of {data['fixed_size'] // mib} MiB"))
    for axis, points, places, label, title in panels:
        for line, style in LINES.items():
            if line in points[0]:
                axis.plot(places, [point[line] for point in points], style, label=line)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds", title=title)
        axis.grid(True, which="major", alpha=0.4)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def run(options, base, after_resync):
    directory = pathlib.Path(options.plot)
    directory.mkdir(parents=True, exist_ok=True)
    data = series(options, base, after_resync)
    (directory / "resync.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    try:
        draw(data, directory / "resync.png")
    except ImportError:
        table.progress("no picture: apt-get install python3-matplotlib; the data are in "
                       f"{directory}/resync.json")
    return data
