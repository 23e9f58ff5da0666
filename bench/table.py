# SPDX-License-Identifier: Apache-2.0
"""Figures of several rounds as text: medians, spreads, ratios, goals."""

import statistics
import sys

MIB = 1 << 20


def rate(value):
    """1234567 -> '1.23 M', three digits."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def spread(values):
    """The median, and (least..most) where there are several."""
    if not values:
        return "-"
    text = rate(statistics.median(values))
    if len(values) > 1:
        text += f" ({rate(min(values))}..{rate(max(values))})"
    return text


def median(values):
    return rate(statistics.median(values)) if values else "-"


def ratio(values, others):
    """Of the medians; None where one is missing."""
    if not values or not others:
        return None
    return statistics.median(values) / statistics.median(others)


def times(value):
    return "-" if value is None else f"{value:.2f}x"


def answer(met):
    return {None: "-", True: "yes", False: "no"}[met]


def render(head, rows):
    """Left column left, the others right, columns as wide as needed."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def limits(values):
    """What Nodes.limits() has measured."""
    return ("\nlimits: veth round trip, 4 KiB there and one byte back, "
            f"{values['round_trip_sleeping_us']:.0f} us sleeping and "
            f"{values['round_trip_spinning_us']:.0f} us spinning; "
            f"veth stream {values['stream_gb_per_s']:.1f} GB/s; "
            f"memcpy {values['memcpy_gb_per_s']:.1f} GB/s; "
            f"XXH3 {values['xxh3_64_gb_per_s']:.1f} GB/s; "
            f"4 KiB pwrite {values['pwrite_4k_us']:.1f} us; "
            f"pwrite + fdatasync {values['pwrite_4k_fdatasync_us']:.0f} us")


def memory(sizes_of):
    """A line for each node of Nodes.memory()."""
    return "\n".join(
        f"gemeld on {node}: {sizes['VmRSS'] / MIB:.1f} MiB resident, "
        f"{sizes['VmHWM'] / MIB:.1f} MiB at most" for node, sizes in sizes_of.items())
