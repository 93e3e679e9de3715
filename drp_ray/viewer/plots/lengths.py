"""Length of predictions against references, as a map of how many users lie where."""

import numpy as np

from drp_ray.viewer.html import Html, element
from drp_ray.viewer.plots.svg import NARROW, Scale, bottom_axis, drawing, figure, left_axis, mark

CELLS = 22


def length_plot(run: str, place: int, predicted: np.ndarray, real: np.ndarray) -> Html:
    """Characters written (upwards) against those of the real review; on the dashed line both are equal."""
    both = np.concatenate([predicted, real])
    low, high = max(float(both.min()), 1.0), max(float(both.max()), 10.0)
    edges = np.geomspace(low, high * 1.001, CELLS + 1)
    counts, _, _ = np.histogram2d(np.maximum(real, low), np.maximum(predicted, low), bins=[edges, edges])
    across, up = Scale(low, high, 44, 334, True), Scale(low, high, 220, 14, True)
    most = counts.max()
    cells = [
        mark(
            "rect",
            f"{int(counts[i, j]):,} users\nreal {edges[i]:,.0f} to {edges[i + 1]:,.0f}\n"
            f"written {edges[j]:,.0f} to {edges[j + 1]:,.0f} characters",
            x=across(float(edges[i])),
            y=up(float(edges[j + 1])),
            width=round(across(float(edges[i + 1])) - across(float(edges[i])), 2),
            height=round(up(float(edges[j])) - up(float(edges[j + 1])), 2),
            fill_opacity=round(0.2 + 0.8 * float(counts[i, j] / most), 2),
            class_="cell",
        )
        for i in range(CELLS)
        for j in range(CELLS)
        if counts[i, j]
    ]
    equal = element("line", x1=across(low), y1=up(low), x2=across(high), y2=up(high), class_="bound")
    axes = [left_axis(up, 44, 334, "written"), bottom_axis(across, 220, "characters of the real review")]
    ratio = float(np.median(predicted / np.maximum(real, 1)))
    note = f"median {ratio:.2f} of the real length"
    picture = drawing(NARROW, 252, f"Lengths of {run}", axes, equal, element("g", cells, class_=f"run{place % 8}"))
    return figure(run, note, picture)
