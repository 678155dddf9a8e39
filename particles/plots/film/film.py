"""A run as a film: tokens that move, what was observed beside them, and a clock on which waits do not bore.

A film is made from a stored dataset alone. Its time is depth or the logarithm of depth; tokens between stored frames
are interpolated and brought back to the space; a token has the color of its cluster. What stands still is drawn once.
"""

import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import equinox as eqx
import numpy as np
import tqdm
import xarray as xr
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ...declaration import Declared, nearest, option
from ..depth import Depth, moving
from ..observables import curves
from ..palette import palette
from ..paths import Index, Path, begun, depth_label, depth_symbol, observables, path, picked, title, token_fault
from ..strokes import strokes
from ..style import styled
from ..views import AbstractView, Globe, views
from .actors import AbstractActor, Cursor, Marks, Tokens, Words
from .hues import Hues, hues, known_space
from .motion import between, on_space
from .reel import save_film
from .stage import INCHES, filmed

LONGEST = 36_000
"""Most frames of a film: twenty minutes of thirty a second."""

_BESIDE = 3
"""Panels beside the tokens that can still be read."""


class Role(eqx.Module):
    """One member of a dataset in a film: its stored path, its tokens at the frames of the film, and their colors."""

    at: Index = eqx.field(static=True)
    path: Path
    x: Float[np.ndarray, "f n d"]
    hues: Hues


class Film(Declared):
    """What may be chosen about a film.

    Parameters
    ----------
    frames : pictures of the film, whatever the number of stored frames.
    fps : pictures a second.
    depth : the clock: `linear` in depth, `log` from the first motion on, or `auto`, which is logarithmic where half of
        the motion is over in the first tenth of the depth.
    watch : observables beside the tokens; by default the first of the record.
    turn : by how many degrees a sphere turns while the film lasts; at its end it is seen from the best side.
    trail : the length of trails, in frames of the film.
    width : of a picture in pixels; its height is 9/16 of that.
    delta : the distance below which clusters merge; by default that of the record.
    tokens : up to how many tokens clusters are told apart; more have one color.
    panels : most members of a sweep that are shown.

    Cost
    ----
    Some fifty milliseconds a picture for a thousand tokens, and a merge tree of the stored frames.
    """

    frames: int = option(300, ge=2, le=LONGEST)
    fps: float = option(30.0, converter=float, ge=1, le=120)
    depth: Literal["auto", "linear", "log"] = option("auto")
    watch: tuple[str, ...] = option(())
    turn: float = option(60.0, converter=float)
    trail: int = option(16, ge=0)
    width: int = option(1280, ge=320, le=7680)
    delta: float | None = option(None, gt=0)
    tokens: int = option(2000, ge=2)
    panels: int = option(4, ge=1, le=6)
    sources: ClassVar[tuple[str, ...]] = ("fritsch1984method",)

    def refusal(self, dataset: xr.Dataset) -> str | None:
        """Why there can be no film of the dataset and what would help, or None if there can."""
        fault = token_fault(dataset, "a film")
        if fault:
            return fault
        known = observables(dataset)
        for name in self.watch:
            if name not in known:
                return f"this record has no observable `{name}` to watch; it has {list(known)}.{nearest(name, known)}"
        if max(len(path(dataset, at, 2).time) for at in begun(dataset)) < 2:
            return "a film needs two stored frames or more, got 1; `particles plot RUN` draws it"
        if self.depth == "log" and (dataset["time"].values > 0).sum() < 2:
            return "a logarithmic clock needs two depths above zero; use `linear`"
        return None

    def clock(self, dataset: xr.Dataset) -> Depth:
        """The clock of the film of a dataset."""
        shown = [path(dataset, at, sys.maxsize) for at in self._shown(dataset)]
        return moving(shown, depth_label(dataset), {"auto": None, "linear": False, "log": True}[self.depth])

    def caption(self, dataset: xr.Dataset) -> str:
        """What is seen, followed by the parameters of the run."""
        clock = self.clock(dataset)
        pace = "depth" if clock.floor is None else f"depth, logarithmic from {clock.floor:.3g} on"
        what = (
            f"{dataset.sizes['token']} tokens. The time of the film is {pace}; {self.frames} frames interpolate "
            f"{dataset.sizes['time']} stored ones. Color is the cluster of a token, gray that of short-lived ones."
        )
        if dataset.sizes["token"] > self.tokens:
            what = what.partition(" Color is")[0] + " Clusters of so many tokens are not told apart."
        return " ".join(filter(None, [what, str(dataset.attrs.get("caption", ""))]))

    def pictures(self, dataset: xr.Dataset) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The pictures, drawn as they are asked for.

        Raises
        ------
        ValueError
            At once, if there can be no film of this dataset.
        """
        fault = self.refusal(dataset)
        if fault:
            raise ValueError(fault)
        return self._pictures(dataset)

    def _pictures(self, dataset: xr.Dataset) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        clock = self.clock(dataset)
        depths = clock.spread(self.frames)
        with styled():
            cast = [self._role(dataset, at, clock, depths) for at in self._shown(dataset)]
            figure, actors = self._scene(dataset, cast, clock, depths)
            yield from filmed(figure, actors, depths)

    def _shown(self, dataset: xr.Dataset) -> list[Index]:
        every = begun(dataset)
        return [every[k] for k in picked(len(every), self.panels)]

    def _role(self, dataset: xr.Dataset, at: Index, clock: Depth, depths: Float[np.ndarray, " f"]) -> Role:
        stored = path(dataset, at, sys.maxsize)
        x = between(clock.along(stored.time), stored.x, clock.along(depths))
        x = on_space(known_space(dataset.isel(at)), x)
        return Role(at, stored, x, hues(dataset, at, stored, clock, self.delta, self.tokens))

    def _scene(
        self, dataset: xr.Dataset, cast: list[Role], clock: Depth, depths: Float[np.ndarray, " f"]
    ) -> tuple[Figure, list[AbstractActor]]:
        """The picture that stands still, and what moves on it."""
        seen = views(dataset, [role.path for role in cast])
        flat = [view for view in seen if not view.shows_depth]
        unrolled = [view for view in seen if view.shows_depth]
        names = self.watch or observables(dataset)
        beside = [*unrolled, *names] if flat and len(cast) == 1 else list(names)
        stage, side, figure = _stages(len(cast), len(beside[:_BESIDE]), self.width)
        actors: list[AbstractActor] = []
        for axes, role in zip(stage, cast, strict=True):
            axes.set_title(title(dataset, role.at))
            if flat:
                actors.append(self._tokens(axes, role, flat[0], depths))
            else:
                actors.append(_timeline(axes, role, unrolled[0], clock))
            actors += _counted(axes, role)
        for axes, shown in zip(side, beside, strict=False):
            if isinstance(shown, str):
                curves(axes, dataset, shown, palette(dataset))
                clock.frame(axes)
                actors.append(Cursor(axes))
            else:
                actors.append(_timeline(axes, cast[0], shown, clock))
        for axes in side[:-1]:
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
        figure.align_ylabels(side)
        if len(cast) > 1:
            palette(dataset).key(figure, side) if side else None
        text = figure.suptitle(" ", x=0.02, ha="left", fontsize=10)
        symbol = depth_symbol(dataset)
        actors.append(Words(None, text, lambda _, t: f"{symbol} = {_number(t)}"))
        return figure, actors

    def _tokens(self, axes: Axes, role: Role, view: AbstractView, depths: Float[np.ndarray, " f"]) -> Tokens:
        turns = isinstance(view, Globe) and self.turn != 0
        if isinstance(view, Globe) and turns:
            view.outline(axes)
        else:
            view.frame(axes)
        return Tokens(axes, self._camera(view), depths, role.x, role.hues, self.trail, turns)

    def _camera(self, view: AbstractView) -> Callable[[int], AbstractView]:
        """From where each frame is seen."""
        if not isinstance(view, Globe):
            return lambda k: view
        angle = np.radians(self.turn) / (self.frames - 1)
        return lambda k: view.turned(angle * (k - self.frames + 1))


def _stages(count: int, beside: int, width: int) -> tuple[list[Axes], list[Axes], Figure]:
    """Panels for members at the left, and for what stands beside them at the right."""
    pixels = width // 2 * 2, round(width * INCHES[1] / INCHES[0] / 2) * 2  # an mp4 needs even numbers
    dpi = width / INCHES[0]
    figure = Figure(figsize=(pixels[0] / dpi, pixels[1] / dpi), dpi=dpi)
    whole = figure.add_gridspec(1, 2 if beside else 1, width_ratios=[1.25, 1] if beside else None)
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3)
    grid = whole[0].subgridspec(-(-count // columns), columns)
    stage = [figure.add_subplot(grid[k // columns, k % columns]) for k in range(count)]
    if not beside:
        return stage, [], figure
    column = whole[1].subgridspec(beside, 1)
    return stage, [figure.add_subplot(column[k]) for k in range(beside)], figure


def _timeline(axes: Axes, role: Role, view: AbstractView, clock: Depth) -> Marks:
    """A panel of whole paths against depth, on which the tokens move."""
    view.frame(axes)
    clock.frame(axes)
    bundle = LineCollection(list(strokes(view, role.path).ends), colors="0.8", linewidths=0.4, zorder=0.5)
    axes.add_collection(bundle, autolim=False)
    return Marks(axes, view, role.x, role.hues)


def _counted(axes: Axes, role: Role) -> list[AbstractActor]:
    """The number of clusters in a corner of a panel, where they are told apart."""
    if role.hues.clusters is None:
        return []
    text = axes.text(1, 0, "", transform=axes.transAxes, ha="right", va="bottom", color="0.3", fontsize=7)

    def said(_: int, t: float) -> str:
        count = role.hues.at(t)[1]
        return f"{count} cluster{'' if count == 1 else 's'}"

    return [Words(axes, text, said)]


def _number(t: float) -> str:
    """A depth to three digits, of a width that does not jump about from frame to frame."""
    return f"{t:.2f}" if t < 10 else f"{t:.1f}" if t < 100 else f"{t:.0f}"


def animate(
    dataset: xr.Dataset, target: str | os.PathLike[str], film: Film | None = None, progress: bool = False
) -> pathlib.Path:
    """Makes a film of a dataset: mp4 or gif, by the suffix of the target. Title, caption and sources are in it.

    Parameters
    ----------
    film : what may be chosen about it.
    progress : show a bar on standard error.

    Raises
    ------
    ValueError
        If there can be no film of this dataset, or not in this format; the message says what would help.
    OSError
        If the target cannot be written to. No half of a film is left there.
    """
    film = Film() if film is None else film
    pictures = film.pictures(dataset)
    words = {
        "title": ": ".join(filter(None, [str(dataset.attrs.get("name", "")), "film"])),
        "comment": film.caption(dataset),
        "description": str(dataset.attrs.get("sources", "")),
    }
    shown = tqdm.tqdm(pictures, desc="film", total=film.frames, unit="frame", file=sys.stderr, disable=not progress)
    return save_film(iter(shown), target, film.fps, words)
