# SPDX-License-Identifier: Apache-2.0
"""Figures of several rounds as text: medians, spreads, ratios, goals."""

import statistics


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


def render(head, rows):
    """Left column left, the others right, columns as wide as needed."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
