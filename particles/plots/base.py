"""What a figure is, and how the figures of a dataset are found.

A kind of figure is a final class: its fields are what may be chosen about it, `draw` makes the picture from a dataset
and nothing else, `caption` says in words what is seen, and `refusal` says why it cannot serve a dataset, with what
would. A kind is asked for by its name; a new kind joins by existing. A figure sees stored results only: it knows
nothing of flows, solvers or configs, and a picture is never the place where something is first computed.
"""

import abc
from collections.abc import Iterable, Iterator
from typing import ClassVar

import xarray as xr
from matplotlib.figure import Figure

from ..declaration import Declared, family, nearest
from .style import Plate, styled


class AbstractFigure(Declared):
    """A kind of figure.

    A new kind gives a `name`, by which it is asked for, and the three abstract methods below. `draw` may rely on
    `refusal` having been None, on the house style being in force, and on nothing global.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def draw(self, dataset: xr.Dataset) -> Figure:
        """The picture, under whichever style is in force; `plate` puts it in the house style."""

    @abc.abstractmethod
    def refusal(self, dataset: xr.Dataset) -> str | None:
        """Why this kind cannot serve the dataset and what would help, or None if it can."""

    @abc.abstractmethod
    def shows(self, dataset: xr.Dataset) -> str:
        """What is seen, in sentences; part of the caption."""

    def caption(self, dataset: xr.Dataset) -> str:
        """What is seen, followed by the parameters of the run."""
        return " ".join(filter(None, [self.shows(dataset), str(dataset.attrs.get("caption", ""))]))

    def plate(self, dataset: xr.Dataset) -> Plate:
        """The picture in the house style, with its words.

        Raises
        ------
        ValueError
            If this kind cannot serve the dataset.
        """
        fault = self.refusal(dataset)
        if fault:
            raise ValueError(fault)
        with styled():
            figure = self.draw(dataset)
        title = ": ".join(filter(None, [str(dataset.attrs.get("name", "")), self.name]))
        return Plate(figure, title, self.caption(dataset), str(dataset.attrs.get("sources", "")))


def kinds() -> dict[str, type[AbstractFigure]]:
    """Every kind of figure by its name."""
    return {cls.name: cls for cls in family(AbstractFigure).values()}


def kind(name: str) -> AbstractFigure:
    """The kind of figure of a name, with its defaults.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    known = kinds()
    if name not in known:
        raise ValueError(f"unknown figure `{name}`; known are {list(known)}.{nearest(name, known)}")
    return known[name]()


def suitable(dataset: xr.Dataset) -> tuple[str, ...]:
    """The names of the kinds that do not refuse the dataset: what is drawn if nothing is asked for.

    A record that describes its chart is drawn as that and no other.
    """
    if "chart" in dataset.attrs:
        return ("chart",)
    return tuple(name for name in kinds() if kind(name).refusal(dataset) is None)


def figures(dataset: xr.Dataset, wanted: Iterable[str | AbstractFigure] | None = None) -> Iterator[tuple[str, Plate]]:
    """The figures of a dataset, each with its name, drawn one after the other as they are asked for.

    Parameters
    ----------
    wanted : names, or figures with other parameters than the defaults; absent, all that the dataset allows.

    Raises
    ------
    ValueError
        At once, before anything is drawn, for an unknown name or a figure that cannot serve this dataset.
    """
    chosen = [kind(w) if isinstance(w, str) else w for w in (suitable(dataset) if wanted is None else wanted)]
    faults = [fault for figure in chosen if (fault := figure.refusal(dataset))]
    if faults:
        raise ValueError("; ".join(faults))
    return ((figure.name, figure.plate(dataset)) for figure in chosen)
