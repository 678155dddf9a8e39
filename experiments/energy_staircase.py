"""The energy rises in stairs: clusters wait for each other ever longer, and merge at once."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import worst
from particles.limits import two_clusters

DELTA = 0.3  # the angle below which two tokens are neighbors
TOGETHER = 1e-5  # the angle below which the width of a cluster does not show in the energy
FRAMES = 400
SLACK = 1e-6  # angles this close to `DELTA` have met it


class EnergyStaircase(pt.AbstractClaim):
    """The energy rests at sums of squared cluster masses and rises where clusters merge, at depths known in advance.

    Tokens on the circle in a few caps. Depths of the mergers are compared with the same law written for angles and
    solved by SciPy, that of the last one with the quadrature of two clusters left alone. On the clock of the path a
    stair is as wide as its clusters were apart, however long they waited.

    Parameters
    ----------
    sizes, centers : how many tokens each cap has, and the angle of its center, increasing.
    width : standard deviation of the angles in a cap.
    beta : inverse temperature.
    seed : of the angles.
    control : the negative control: the tokens have unnormalized attention, on the clock of softmax.

    Source
    ------
    geshkovski2024dynamic, for the staircase; bruno2025multiscale, for mergers one after another; heights and depths
    derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    sizes: tuple[int, ...] = option((3, 4, 5, 4))
    centers: tuple[float, ...] = option((0.0, 0.9, 2.3, 4.0))
    width: Float[Array, ""] = parameter(0.04, ge=0)
    beta: Float[Array, ""] = parameter(8.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2024dynamic", "bruno2025multiscale")

    def outside(self, data: xr.Dataset) -> str:
        return "" if data.sizes["merger"] == len(self.sizes) - 1 else "the caps are not so many clusters at the start"

    def data(self) -> xr.Dataset:
        angles = self._angles()
        normalizer = pt.Mean(offset=self.beta) if self.control else pt.Softmax()
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(self.beta), normalizer=normalizer))
        x0 = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))
        found = limits.mergers(flow, x0, 1e9, DELTA)
        expected, labels = _mergers(angles, float(self.beta))
        path = self._path(flow, x0)
        depth = path["depth"]
        stair = np.searchsorted(expected, depth)
        heights = np.asarray([_height(one) for one in labels])
        energy = {"symbol": r"$E/E_{\max}$"}
        merged = np.full(len(expected), np.nan)
        merged[: len(found)] = [one.depth for one in found[: len(expected)]]
        left = {"long_name": "clusters left", "symbol": "$k$"}
        return xr.Dataset(
            {
                "depth": ("length", np.where(depth > 0, depth, np.nan), {"long_name": "depth", "symbol": "$t$"}),
                "energy": ("length", path["energy"], energy | {"long_name": "tokens"}),
                "plateau": ("length", heights[stair], energy | {"long_name": "squared masses"}),
                "excess": ("length", path["excess"], {"long_name": "energy over the plateau, less the bound"}),
                "merged": ("merger", merged, {"long_name": "tokens", "symbol": "$t$"}),
                "expected": ("merger", expected, {"long_name": "angles, by SciPy", "symbol": "$t$"}),
                "count": ((), len(found), {"long_name": "mergers found"}),
                "last": ((), self._last(path), {"long_name": "depth of the last merger, by quadrature"}),
            },
            coords={
                "length": ("length", path["length"], {"long_name": "length of the path", "symbol": "$s$"}),
                "merger": ("merger", [int(one.max()) + 1 for one in labels[1:]], left),
            },
        )

    def _angles(self) -> np.ndarray:
        """The angles of the tokens, increasing."""
        noise = np.random.default_rng(self.seed).normal(size=sum(self.sizes))
        return np.sort(np.repeat(np.asarray(self.centers), self.sizes) + float(self.width) * noise)

    def _path(self, flow: pt.Flow, x0: Float[Array, "n d"]) -> dict[str, np.ndarray]:
        """The run on the clock of its path, up to the last merger."""
        beta = float(self.beta)
        plan = pt.Plan(
            2 * np.pi,
            save=FRAMES,
            solver="Dopri8",
            rtol=1e-10,
            atol=1e-13,
            watch=(limits.TrueDepth(), "energy"),
            stop=(pt.OneCluster(1e-2),),
        )
        clocked = limits.Reclocked(flow, 1e-12)  # pyright: ignore[reportCallIssue]
        run = pt.solve(clocked, x0, plan).complete()
        there = np.asarray(run.times) < float(run.depth)
        x, energy = np.asarray(run.tokens)[there], 2 * beta * np.exp(-beta) * np.asarray(run.observed["energy"])[there]
        excess = [_excess(*each, beta) for each in zip(x, energy, strict=True)]
        return {
            "length": np.asarray(run.times)[there],
            "depth": np.asarray(run.observed["true_depth"])[there],
            "tokens": x,
            "energy": energy,
            "excess": np.asarray(excess),
        }

    def _last(self, path: dict[str, np.ndarray]) -> float:
        """When the last two clusters merge, by quadrature from the first frame at which they are two points."""
        for x, depth in zip(path["tokens"], path["depth"], strict=True):
            labels = _clusters(np.arctan2(x[:, 1], x[:, 0]), DELTA)
            apart = [x[labels == k] for k in range(labels.max() + 1)]
            if len(apart) == 2 and max(np.ptp(part, axis=0).max() for part in apart) < 1e-8:
                phi = np.arccos(apart[0][0] @ apart[1][0])
                share = len(apart[0]) / len(x)
                return float(depth) + two_clusters.waiting_time(phi, DELTA, float(self.beta), (share, 1 - share))
        return np.nan

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        off = worst(data.merged / data.expected - 1)
        last = float(data.merged[-1] / data["last"] - 1)
        excess = float(np.nanmax(data.excess))
        both = "both solvers; mergers are located to 1e-7"
        return (
            pt.Check("number of mergers", int(data["count"]), data.sizes["merger"], 0, "a count"),
            pt.Check("largest relative error of a merger's depth", off, 0.0, 1e-6, both),
            pt.Check("relative error of the last depth, by quadrature", last, 0.0, 1e-6, "where the frame has it"),
            pt.Check(
                "energy off its plateau, less the cross terms",
                excess,
                0.0,
                1e-9,
                "cross terms are below 2 exp(-beta (1 - cos)), what is left of the widths below 1e-9",
                pt.Sense.at_most,
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("energy",), ("plateau",), log="x", title="in depth"),
            Curves("length", ("energy",), ("plateau",), title="along the path"),
            Curves("merger", ("merged",), ("expected",), log="y", title="depth of mergers"),
        )

    def shrunk(self) -> "EnergyStaircase":
        return dataclasses.replace(self, sizes=(2, 3, 2), centers=(0.0, 0.9, 2.4), beta=jnp.asarray(5.0))


def _clusters(angles: np.ndarray, delta: float) -> np.ndarray:
    """For each token the number of its cluster on the circle, from its angle."""
    order = np.argsort(angles)
    ordered = angles[order]
    gaps = np.diff(ordered, append=ordered[0] + 2 * np.pi) >= delta
    inner = np.concatenate([[0], np.cumsum(gaps[:-1])])
    numbers = np.where(inner == inner[-1], 0, inner) if not gaps[-1] else inner
    labels = np.empty(len(angles), int)
    labels[order] = np.unique(numbers, return_inverse=True)[1]
    return labels


def _height(labels: np.ndarray) -> float:
    """The sum of the squared masses of clusters."""
    return float(np.sum((np.bincount(labels) / len(labels)) ** 2))


def _excess(x: np.ndarray, energy: float, beta: float) -> float:
    """By how much more the energy is off its plateau than cross terms allow; not a number while a cluster forms."""
    labels = _clusters(np.arctan2(x[:, 1], x[:, 0]), DELTA)
    own = labels[:, None] == labels[None, :]
    apart = np.linalg.norm(x[:, None] - x[None, :], axis=-1)
    if apart[own].max() > TOGETHER:
        return np.nan
    nearest = -np.inf if own.all() else np.max((x @ x.T)[~own])
    return float(abs(energy - _height(labels)) - 2 * np.exp(-beta * (1 - nearest)))


def _mergers(angles: np.ndarray, beta: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """When gaps between neighbors close to `DELTA` under softmax attention on the circle, and the clusters between."""

    def speed(t: float, theta: np.ndarray) -> np.ndarray:
        turn = theta[None, :] - theta[:, None]
        w = np.exp(beta * (np.cos(turn) - 1))
        return np.sum(w * np.sin(turn), axis=1) / np.sum(w, axis=1)

    def closing(k: int):
        def gap(t: float, theta: np.ndarray) -> float:
            return theta[k + 1] - theta[k] - DELTA if k + 1 < len(theta) else theta[0] + 2 * np.pi - theta[k] - DELTA

        return gap

    theta, depth, depths, labels = angles, 0.0, [], [_clusters(angles, DELTA)]
    while labels[-1].max() > 0:
        watched = [closing(k) for k in range(len(theta)) if closing(k)(0.0, theta) > SLACK]
        for gap in watched:
            gap.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
        path = solve_ivp(speed, (0, 1e9), theta, method="LSODA", rtol=1e-11, atol=1e-12, events=watched)
        if path.status != 1:
            raise pt.Failed(f"{labels[-1].max() + 1} clusters do not merge before depth 1e9: {path.message}")
        depth += float(path.t[-1])
        theta = path.y[:, -1]
        depths.append(depth)
        labels.append(_clusters(theta, DELTA + SLACK))
    return np.asarray(depths), labels
