"""What a record says of the space that its tokens live in, and of the tokens themselves, without the run's config."""

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ..declaration import family
from ..observables import Clusters
from ..spaces import AbstractSpace

if TYPE_CHECKING:
    import xarray


def stored_space(dataset: "xarray.Dataset") -> AbstractSpace:
    """The space that a dataset names.

    Raises
    ------
    ValueError
        If more must be known of it than its name and radius.
    """
    cls = family(AbstractSpace).get(str(dataset.attrs.get("space")))
    given = {"radius": dataset.attrs["radius"]} if "radius" in dataset.attrs else {}
    for coordinate in dataset.coords.values():
        head, _, name = str(coordinate.attrs.get("path", "")).partition("flow.space.")
        given |= {name: coordinate.values} if name and not head else {}
    names = {field.name for field in dataclasses.fields(cls)} if cls else set()
    whole = any(coordinate.attrs.get("path") == "flow.space" for coordinate in dataset.coords.values())
    if cls is None or whole or not names <= given.keys():
        named = dataset.attrs.get("space", "?")
        raise ValueError(f"the record does not say enough of its space, {named}, to measure distances; give `space`")
    return cls(**{name: float(given[name]) for name in names})


def stored_tokens(
    dataset: "xarray.Dataset",
) -> tuple[Float[np.ndarray, " time"], Int[np.ndarray, " token"], Float[np.ndarray, "time token d"]]:
    """Depths, numbers of tokens, and tokens: those that are somewhere at first, as long as their distances are finite.

    Raises
    ------
    ValueError
        If there are no tokens, or those of several runs.
    """
    if "tokens" not in dataset:
        raise ValueError("the record holds no tokens; set `plan.tokens = true`")
    swept = [str(dim) for dim in dataset["tokens"].dims if dim not in ("time", "token", "dim")]
    if swept:
        chosen = dict.fromkeys(swept, 0)
        raise ValueError(f"the record is a sweep over {', '.join(swept)}; choose a run: record.dataset.isel({chosen})")
    x = dataset["tokens"].transpose("time", "token", "dim").values
    with np.errstate(over="ignore", invalid="ignore"):
        seen = np.isfinite(4 * np.sum(x**2, axis=-1))  # a bound of the square of any distance
    token = np.flatnonzero(seen[0]) if len(seen) else np.arange(0)
    reached = np.cumprod(seen[:, token].all(axis=1)).astype(bool) if len(token) else np.zeros(len(x), bool)
    return np.asarray(dataset["time"].values, float)[reached], token, x[reached][:, token]


def cluster_distance(dataset: "xarray.Dataset") -> float:
    """The distance at which clusters of this record are told apart: that of what it watched, else the default."""
    stored = dataset[Clusters.name].attrs if Clusters.name in dataset else {}
    return float(json.loads(stored.get("parameters", "{}")).get("delta", Clusters().delta))
