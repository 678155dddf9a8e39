"""What can be shown: a dataset, with the words that a run directory adds to it.

A page is made of a dataset. A record adds its resolved config, its manifest and its sources; a run in memory, which
knows neither its space nor what its observables mean, becomes a dataset here, and what had to be guessed is said.
"""

import dataclasses
import functools
import tomllib
from typing import Any

import numpy as np
import xarray as xr

from ..integration import Run, Status
from ..record import Record

_ROUND = 1e-4
"""Tokens whose distance from the origin differs relatively by less are taken to lie on a sphere."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What is shown.

    Attributes
    ----------
    dataset : tokens and observables.
    manifest : of the run directory; empty without one.
    config : the resolved config as TOML; empty without one.
    bibliography : the BibTeX of what took part.
    notes : what the reader should know of where this comes from.
    """

    dataset: xr.Dataset
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: str = ""
    bibliography: str = ""
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The config as plain data; empty where there is none."""
        return tomllib.loads(self.config)

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self.dataset.attrs.get("name") or self.manifest.get("name") or "run")

    def order(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Names of observables as they were watched: what stores them keeps no order."""
        known = list(self.manifest.get("checksums", {}))
        return tuple(sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name)))

    @property
    def status(self) -> str:
        """In one word: done, interrupted, failed, running."""
        return str(self.dataset.attrs.get("status", self.manifest.get("status", "done")))


@functools.singledispatch
def source(result: Any) -> Source:
    """What can be shown of a record, a run, or a dataset.

    Raises
    ------
    ValueError
        For anything else.
    """
    raise ValueError(f"a page shows a Record, a Run, or an xarray Dataset; got {type(result).__name__}")


@source.register
def _(result: xr.Dataset) -> Source:
    return Source(result)


@source.register
def _(result: Record) -> Source:
    path = result.path / "config.toml"
    return Source(
        dataset=result.dataset,
        manifest=result.manifest,
        config=result.config if path.exists() else "",
        bibliography=result.sources() if "sources" in result.manifest else "",
    )


@source.register
def _(result: Run) -> Source:
    times = np.asarray(result.times)
    batch = times.shape[:-1]
    swept = tuple(f"batch_{k}" if k else "batch" for k in range(len(batch)))
    variables: dict[str, Any] = {}
    attrs: dict[str, Any] = {"name": "run", "status": _word(result)}
    notes: tuple[str, ...] = ()
    if result.tokens is not None:
        x = np.asarray(result.tokens)
        variables["tokens"] = ((*swept, "time", "token", "dim"), x)
        attrs["space"], notes = _guessed(x, attrs)
    for name, values in result.observed.items():
        values = np.asarray(values)
        inner = ("token", "dim")[: values.ndim - len(batch) - 1]
        variables[name] = ((*swept, "time", *inner), values, {"long_name": name.replace("_", " ")})
    coordinates: dict[str, Any] = {name: np.arange(size) for name, size in zip(swept, batch, strict=True)}
    coordinates["time"] = ("time", times.reshape(-1, times.shape[-1])[0], {"long_name": "depth", "symbol": "$t$"})
    return Source(xr.Dataset(variables, coordinates, attrs), notes=notes)


def _word(result: Run) -> str:
    status = Status(int(np.max(np.asarray(result.status))))
    return "failed" if status.failed else "done" if status else "interrupted"


def _guessed(x: np.ndarray, attrs: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The space that tokens seem to live in: a run in memory does not say it."""
    size = np.linalg.norm(x, axis=-1)
    size = size[np.isfinite(size)]
    if x.shape[-1] > 1 and len(size) and np.ptp(size) <= _ROUND * size.max() and size.max() > 0:
        attrs["radius"] = float(size.mean())
        word = f"All tokens are {attrs['radius']:.4g} from the origin at every depth: they are shown on that sphere."
        return "Sphere", (word,)
    return "Euclidean", ()
