"""Datasets such as a record gives, made by hand: one for every case that a figure may meet.

Each is drawn by every figure that does not refuse it. The seed is fixed; the paths gather toward a few points.
"""

import numpy as np
import xarray as xr

CAPTION = "Attention at β = 4 on 24 tokens; Tsit5, tolerance 1e-6."


def gathering(n=24, d=3, frames=15, space="Sphere", seed=3):
    """Tokens that approach one of three points, with time of uneven steps; shape [frames, n, d]."""
    generator = np.random.default_rng(seed)
    start, ends = generator.normal(size=(n, d)), generator.normal(size=(3, d))
    time = np.linspace(0, 2, frames) ** 2
    x = start + (1 - np.exp(-time))[:, None, None] * (ends[np.arange(n) % 3] - start)
    if space in ("Sphere", "Ball"):
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return time, x


def stored(x, time, space="Sphere", sweep=()):
    """The dataset of tokens [*sweep, time, token, dim]; `sweep` lists (dim, values, symbol)."""
    dims = tuple(dim for dim, _, _ in sweep)
    dataset = xr.Dataset(
        {"tokens": ((*dims, "time", "token", "dim"), x)},
        coords={"time": ("time", time, {"long_name": "depth", "symbol": "$t$"})},
        attrs={"name": "demo", "space": space, "radius": 1.0, "caption": CAPTION, "status": "finished"},
    )
    dataset.attrs["sources"] = "geshkovski2023perspective, vaswani2017attention"
    for dim, values, symbol in sweep:
        dataset = dataset.assign_coords({dim: (dim, values, {"symbol": symbol})})
    scalars = {"energy": (x**2).mean(axis=(-1, -2)), "radius": np.abs(x).max(axis=(-1, -2))}
    for name, values in scalars.items():
        attrs = {"long_name": name, "symbol": f"${name[0]}$", "units": "1", "source": "x"}
        dataset[name] = ((*dims, "time"), values, attrs)
    return dataset


def run(space="Sphere", **shape):
    time, x = gathering(space=space, **shape)
    return stored(x, time, space)


def sweep(count=4, frames=15, d=3, space="Sphere", n=24):
    runs = [gathering(n, d=d, frames=frames, space=space, seed=k) for k in range(count)]
    beta = ("beta", np.arange(1.0, count + 1) ** 2, r"$\beta$")
    return stored(np.stack([x for _, x in runs]), runs[0][0], space, [beta])


def grid():
    time, x = gathering(frames=3)
    seeds, names = ("seed", np.arange(2), "seed"), ("law", np.array(["dot", "additive", "kernel"]), "law")
    return stored(np.broadcast_to(x, (2, 3, *x.shape)).copy(), time, sweep=[seeds, names])


def stopped():
    dataset = sweep(3)
    for name in dataset.data_vars:
        dataset[name].values[1, 7:] = np.nan  # stopped early
        dataset[name].values[2] = np.nan  # never began
    return dataset


def padded():
    dataset = run()
    dataset["tokens"].values[:, 20:] = np.nan
    return dataset


def blown_up():
    dataset = run(space="Euclidean", d=2)
    dataset["tokens"].values[-3:] = 1e30
    dataset["tokens"].values[-1, 0] = np.inf
    dataset["energy"].values[-2:] = [1e300, np.inf]
    return dataset


def still():
    time, x = gathering()
    return stored(np.repeat(x[:1], len(time), axis=0), time)


def numbers_only(dataset=None):
    return (run() if dataset is None else dataset).drop_vars("tokens").drop_dims(["token", "dim"], errors="ignore")


def attending(beta=4.0, heads=2, n=8):
    """A run that has kept its attention weights, those of softmax, at as many temperatures as there are heads."""
    dataset = run(n=n, frames=4)
    x = dataset["tokens"].values
    logits = beta * np.arange(1, heads + 1)[:, None, None] * np.einsum("tid,tjd->tij", x, x)[:, None]
    w = np.exp(logits - logits.max(axis=-1, keepdims=True))
    words = {"long_name": "attention", "symbol": "$w_{ij}$"}
    dataset["attention"] = (("time", "head", "token", "key"), w / w.sum(axis=-1, keepdims=True), words)
    return dataset


SAMPLES = {
    "with attention": attending,
    "circle": lambda: run(d=2),
    "sphere": run,
    "high sphere": lambda: run(d=12),
    "line": lambda: run(space="Euclidean", d=1),
    "plane": lambda: run(space="Euclidean", d=2),
    "ball": lambda: run(space="Ball", d=2),
    "product": lambda: run(space="Product", d=3),
    "one frame": lambda: run(frames=1),
    "one frame on a line": lambda: run(frames=1, d=1, space="Euclidean"),
    "one token": lambda: run(n=1),
    "one token in the plane": lambda: run(n=1, frames=1, d=2, space="Euclidean"),
    "sweep": lambda: sweep(2),
    "sweep of circles": lambda: sweep(2, d=2),
    "sweep of lines": lambda: sweep(2, d=1, space="Euclidean"),
    "sweep of planes": lambda: sweep(2, d=2, space="Euclidean"),
    "sweep of many": lambda: sweep(10, n=8, frames=2),
    "two sweeps": grid,
    "stopped early": stopped,
    "padded": padded,
    "blown up": blown_up,
    "still": still,
    "numbers only": numbers_only,
    "numbers of a sweep": lambda: numbers_only(sweep()),
}
