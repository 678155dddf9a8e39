"""The results as a page: one table, a chart of each curve, and how they were measured."""

import pathlib
import platform

import jax
import matplotlib.pyplot as plt
import numpy as np

from particles.plots.style import DOUBLE, SINGLE, styled

from . import fourier, precision, processes
from .timing import cores

METHOD = """# Performance

Written by `python -m benchmarks --page docs`, on {cores} cores ({machine}), JAX {jax}, Python {python}. Every figure
is a ratio of two works that were timed in turns in one run, since machines are shared and noisy; times are medians with
the least and the largest in parentheses, after a first call of each that compiles and is not counted. A ratio is how
many times longer theirs takes than ours. Rows whose peer is not installed say so (`pip install -e '.[bench]'`). With
`--only NAME --before FILE` some rows are measured again and the others taken from what `--json FILE` wrote.

"""
CHARTS = {
    "crossover": "One attention step by modes and by pairs; all answers are equal to within 1e-7. Times of pairs "
    "beyond 4000 tokens are scaled from those of 2000 rows.",
    "precision": "Error at depth 10 against wall time, n = 32: steps that adapt, and the step of published scripts.",
    "scaling": "Forty steps of 8192 tokens by one process and by two.",
    "ratios": "How many times longer the other takes, and what was asked for (the mark).",
}


def write(results: list[dict], now: set[str], rounds: int, folder: pathlib.Path) -> None:
    """Writes `performance.md` and its pictures into a folder; pictures of what was not measured now are kept."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    draw = {
        "crossover": ("fourier", lambda: _crossover(max(1, rounds // 3))),
        "precision": ("precision", lambda: _precision(rounds)),
        "scaling": ("processes", _scaling),
        "ratios": ("", lambda: _ratios(results)),
    }
    measured = [name for name, (rows, _) in draw.items() if any(row.startswith(rows) for row in now)]
    with styled():
        drawn = {name: draw[name][1]() for name in measured}
        for name, figure in drawn.items():
            figure.savefig(images / f"performance-{name}.png", dpi=200)
            plt.close(figure)
    facts = {
        "cores": cores(),
        "machine": platform.machine(),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
    pictures = [
        f"![{words}](images/performance-{name}.png)\n\n*{words}*\n"
        for name, words in CHARTS.items()
        if (images / f"performance-{name}.png").exists()
    ]
    (folder / "performance.md").write_text("\n".join([METHOD.format(**facts) + _table(results), *pictures]))


def _table(results: list[dict]) -> str:
    lines = ["| row | work | ours | theirs | ratio | must be | |", "|---|---|---|---|---|---|---|"]
    for row in results:
        words = ". ".join(filter(None, [row["verdict"], row["note"]]))
        cells = (row["name"], row["work"], row["ours"], row["theirs"], row["shown"], row["bound"], words)
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _crossover(rounds: int) -> plt.Figure:
    figure, every = plt.subplots(1, 2, figsize=(DOUBLE, 2.6), sharey=True)
    for axes, (d, space) in zip(every, fourier.SPACES.items(), strict=True):
        points = np.asarray(fourier.curve(d, rounds))
        axes.loglog(points[:, 0], points[:, 2], "s--", label="pairs")
        axes.loglog(points[:, 0], points[:, 1], "o-", label="modes")
        axes.set(title=space, xlabel="tokens")
        axes.legend(frameon=False)
    every[0].set_ylabel("seconds a step")
    return figure


def _precision(rounds: int) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(SINGLE, 2.6))
    for (name, points), style in zip(precision.curves(rounds).items(), ("o-", "s-", "^--"), strict=True):
        seconds, errors = np.asarray(points).T
        axes.loglog(1e3 * seconds, errors, style, label=name)
    axes.set(xlabel="milliseconds", ylabel="largest error")
    axes.legend(frameon=False)
    return figure


def _scaling() -> plt.Figure:
    figure, axes = plt.subplots(figsize=(SINGLE, 2.2))
    for place, kind in enumerate(processes.TOLERANCES):
        found = processes.scaling(kind)
        axes.barh(np.arange(len(found)) + 0.38 * place, found.values(), 0.36, label=kind)
    axes.set_yticks(np.arange(len(found)) + 0.19, list(found))
    axes.set_xlabel("seconds for 40 steps")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def _ratios(results: list[dict]) -> plt.Figure:
    times = [row for row in results if row["value"] is not None and not row["name"].endswith("-crossover")]
    rows = [row for row in times if row["shown"].endswith("x") and row["theirs"] != "-"]
    figure, axes = plt.subplots(figsize=(DOUBLE, 0.6 + 0.2 * len(rows)))
    for place, row in enumerate(reversed(rows)):
        axes.barh(place, row["value"], 0.7, color="C0")
        if row["bound"].startswith(">="):
            axes.plot([float(row["bound"][3:-1])], [place], "|", color="black", markersize=9, markeredgewidth=1.5)
    axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    axes.set(xscale="log", xlabel="times longer")
    axes.axvline(1, color="0.5", linewidth=0.6)
    return figure
