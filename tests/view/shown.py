"""Datasets to be shown, made by hand; the seed is fixed."""

import numpy as np
import xarray as xr


def gathering(n=12, d=3, frames=9, space="Sphere", seed=3):
    """Tokens that approach one of three points; shape [frames, n, d], and depths of uneven steps."""
    generator = np.random.default_rng(seed)
    start, ends = generator.normal(size=(n, d)), generator.normal(size=(3, d))
    time = np.linspace(0, 2, frames) ** 2
    x = start + (1 - np.exp(-2 * time))[:, None, None] * (ends[np.arange(n) % 3] - start)
    return time, x / np.linalg.norm(x, axis=-1, keepdims=True) if space == "Sphere" else x


def stored(time, x, space="Sphere", name="demo", betas=()):
    """The dataset of a run, or of a sweep over beta, with an observable and one for each token."""
    swept = ("beta",) if len(betas) else ()
    dataset = xr.Dataset(
        {"tokens": ((*swept, "time", "token", "dim"), x)},
        coords={"time": ("time", time, {"long_name": "depth", "symbol": "$t$"})},
        attrs={"name": name, "space": space, "radius": 1.0, "caption": "by hand", "status": "done"},
    )
    if swept:
        words = {"symbol": r"$\beta$", "path": "flow.law.score.beta"}
        dataset = dataset.assign_coords(beta=("beta", np.asarray(betas), words))
    dataset["spread"] = ((*swept, "time"), x.std(axis=-2).sum(axis=-1), {"long_name": "spread", "units": "1"})
    dataset["height"] = ((*swept, "time", "token"), x[..., 0], {"long_name": "height", "units": "1"})
    return dataset


def run(space="Sphere", **shape):
    time, x = gathering(space=space, **shape)
    return stored(time, x, space)


def sweep():
    runs = [gathering(seed=k) for k in range(3)]
    return stored(runs[0][0], np.stack([x for _, x in runs]), betas=[1.0, 4.0, 9.0])


def many(n=100_000, frames=5):
    return run(n=n, frames=frames)
