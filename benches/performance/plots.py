"""Draws the figures that the bench measured: plots.py FIGURES.json DIRECTORY"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

OURS, THEIRS = "#0b6e4f", "#9aa5b1"
# The same figures give the same bytes.
matplotlib.rcParams |= {
    "svg.hashsalt": "callrec", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def peers(bars: list, path: Path) -> None:
    panels = [("wall", "wall time, s"), ("cpu", "CPU time, s"), ("peak", "peak memory, MiB"), ("size", "output, MB")]
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), sharey=True)
    names = [bar["name"] for bar in bars]
    colours = [OURS if name.startswith("callrec") else THEIRS for name in names]
    for axis, (key, title) in zip(axes, panels):
        values = [bar[key] for bar in bars]
        axis.barh(names, values, color=colours)
        axis.set_title(title)
        if key != "size":
            axis.set_xscale("log")
        axis.set_xlim(*((min(values) / 3, max(values) * 5) if key != "size" else (0, max(values) * 1.35)))
        for at, value in enumerate(values):
            axis.text(value, at, f" {value:.3g}" if value < 1000 else f" {value:.0f}", va="center", fontsize=8)
    axes[0].invert_yaxis()
    save(figure, path)


def growth(curves: list, path: Path) -> None:
    figure, axes = plt.subplots(2, len(curves), figsize=(12, 4.6), squeeze=False)
    for (time, memory), curve in zip(axes.T, curves):
        time.plot(curve["at"], curve["cpu_ms_per_mb"], "o-", color=OURS, label="CPU")
        time.plot(curve["at"], curve["wall_ms_per_mb"], "s--", color=THEIRS, label="wall")
        memory.plot(curve["at"], curve["peak"], "o-", color=OURS)
        for axis in (time, memory):
            axis.set_ylim(bottom=0)
            if curve["of"] != "dates":
                axis.set_xscale("log")
            axis.set_xlabel(curve["of"])
    axes[0][0].set_ylabel("ms per MB of JSON")
    axes[1][0].set_ylabel("peak memory, MiB")
    axes[0][0].legend(frameon=False)
    save(figure, path)


def main() -> None:
    figures, directory = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    if figures["peers"]:
        peers(figures["peers"], directory / "peers.svg")
    if figures["growth"]:
        growth(figures["growth"], directory / "growth.svg")


main()
