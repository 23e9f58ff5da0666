#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gemel-bench neighbour: what a running resync costs an application's writes. One and the same
resync is paused and let go again and again, and the load runs once in each: so both meet the same
noise. Then the same with a least rate that never holds it back, to see what the pace is good for.
Needs root."""

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
from contenders import clean_up_when_terminated  # noqa: E402
from lab import DATA_PATH, Lab  # noqa: E402

SYNC_TIMEOUT_S = 600
GOAL = 1.5
# Both ends: with no less than this the applications' latency is never asked.
UNPACED = "1TiB.."


def parse():
    parser = argparse.ArgumentParser(
        prog="gemel-bench neighbour", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--size-mib", type=int, help="of the file that is resynchronised", default=4096)
    add("--seconds", type=float, help="of each run of the load", default=2)
    add("--rounds", type=int, help="pairs of a run without and one with the resync", default=8)
    add("--workload", help="of gemel-bench load", default="write4k")
    add("--json", metavar="FILE", help="every single result")
    add("--dir", metavar="BASE", help="where all the data lie", default="/var/tmp")
    return parser.parse_args()


def load(lab, node, bench, options):
    done = lab[node].inside(bench, "load", options.workload, "--seconds", str(options.seconds),
                            "--size", str(64 << 20), "--json", "--dir", DATA_PATH)
    return json.loads(done.stdout)


def progress(lab, node):
    """Bytes that the resync has dealt with, or None when it is over."""
    resync = lab.status(node)["volumes"][0]["resync"]
    return resync and resync["done_bytes"]


def compare(lab, node, bench, options, rate):
    """[(without, with, bytes a second of the resync)], as many as there was a resync for."""
    lab.gemel(node, "resync", "data", "--rate", rate)
    pairs = []
    for _ in range(options.rounds):
        if progress(lab, node) is None:
            lab.wait_pair(SYNC_TIMEOUT_S)
            lab.gemel(node, "resync", "data", "--full")
            lab.wait_for(lambda: progress(lab, node) is not None, SYNC_TIMEOUT_S,
                         lambda: lab.status(node))
        lab.gemel(node, "resync", "data", "--pause")
        calm = load(lab, node, bench, options)
        before = progress(lab, node)
        lab.gemel(node, "resync", "data", "--resume")
        busy = load(lab, node, bench, options)
        after = progress(lab, node)
        if before is None or after is None:     # it ended meanwhile
            continue
        pairs.append((calm, busy, (after - before) / options.seconds))
    return pairs


def show(title, pairs):
    def cell(key):
        return table.times(statistics.median(b[key] / max(c[key], 0.001) for c, b, _ in pairs))
    if not pairs:
        return [title, "-", "-", "-", "-", "0"]
    median = statistics.median
    return [title, f"{median(c['p99_us'] for c, _, _ in pairs):.0f} / "
                   f"{median(b['p99_us'] for _, b, _ in pairs):.0f}",
            cell("p50_us"), cell("p99_us"), f"{median(r for _, _, r in pairs) / 1e6:.0f}",
            str(len(pairs))]


def main():
    options = parse()
    clean_up_when_terminated()
    if os.geteuid() != 0:
        sys.exit("gemel-bench neighbour: needs root, for namespaces and mounts")
    binaries = pathlib.Path(os.environ["GEMEL_BIN"])
    bench = str(binaries / "gemel-bench")
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="gemel-bench-", dir=options.dir))
        lab = stack.enter_context(Lab(binaries, directory=base))
        subprocess.run(["dd", "if=/dev/urandom", f"of={lab['alpha'].bare}/big", "bs=1M",
                        f"count={options.size_mib}", "status=none"], check=True)
        with lab.explained():
            lab.start()
            serving, _ = lab.wait_pair(SYNC_TIMEOUT_S)
            lab.gemel(serving, "resync", "data", "--full")
            lab.wait_for(lambda: progress(lab, serving) is not None, SYNC_TIMEOUT_S,
                         lambda: lab.status(serving))
            results = {"paced": compare(lab, serving, bench, options, "10MiB.."),
                       "not paced": compare(lab, serving, bench, options, UNPACED)}
    head = [options.workload, "p99 us without / with", "p50 with/without", "p99 with/without",
            "resync MB/s", "pairs"]
    print(table.render(head, [show(title, pairs) for title, pairs in results.items()]))
    print(f"goal: p99 with a resync <= {GOAL}x of that without; medians of the pairs' ratios")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n",
                                              encoding="utf-8")


if __name__ == "__main__":
    main()
