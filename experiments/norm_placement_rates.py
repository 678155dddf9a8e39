"""How fast tokens meet, by where a layer normalizes."""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

NEAR, FAR = 1e-4, 1e-9  # gaps between which an exponential rate is read off: the next term is of the size of the gap
EXPONENTIAL, ALGEBRAIC = ("Post", "NGPT", "SqrtDepth"), ("Pre", "Peri")


class NormPlacementRates(pt.AbstractClaim):
    """Tokens meet exponentially where layers normalize behind the sum, and like t^(-2) where they do so before.

    From random starts near one direction; 1 - g is the mean over pairs of one minus the cosine. It falls like exp(-2c)
    in the clock c of the placement, which is t for Post, alpha t for nGPT and 2 sqrt(t+1) - 2 for steps that shrink
    with depth; for Pre and Peri like the power -2 of the radius, which grows like t.

    Parameters
    ----------
    placements : of "Post", "NGPT", "SqrtDepth", "Pre" and "Peri".
    tokens, dim, beta : of the start and of softmax attention.
    until : the last depth of the algebraic ones; the slope in t is read off its last decade.
    alpha : the step size of nGPT.
    seed : of the start.
    control : the negative control: all of them are Post, at the depths of their own.

    Source
    ------
    karagodin2025normalization; rigollet2025meanfield.
    """

    minutes: ClassVar[float] = 1.0
    placements: tuple[str, ...] = option(("Post", "NGPT", "SqrtDepth", "Pre", "Peri"))
    tokens: int = option(6, ge=2)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(1.0)
    until: Float[Array, ""] = parameter(1e4, gt=100)
    alpha: Float[Array, ""] = parameter(0.5, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization", "rigollet2025meanfield")

    def data(self) -> xr.Dataset:
        start = pt.starts.VonMisesFisher(self.tokens, self.dim, kappa=4.0)
        x0 = start(pt.Sphere(), jax.random.key(self.seed))
        clock, depth = np.linspace(0.5, 11, 22), np.geomspace(1, float(self.until), 33)
        gap, radius = {"symbol": "$1 - g$"}, {"symbol": "$r$"}
        variables, coords = {}, {}
        for group, along, at in ((EXPONENTIAL, "clock", clock), (ALGEBRAIC, "depth", depth)):
            names = [name for name in self.placements if name in group]
            if not names:
                continue
            gaps, radii = np.stack([self._followed(name, x0, self._depths(name, at)) for name in names], axis=-1)
            line = gaps[-1] * (np.exp(-2 * (at - at[-1])) if along == "clock" else (at / at[-1]) ** -2.0)[:, None]
            words = r"$e^{-2\int dt/s}$" if along == "clock" else "$t^{-2}$"
            variables |= {
                f"gap_{along}": ((along, along + "s"), gaps, gap | {"long_name": "tokens"}),
                f"law_{along}": ((along, along + "s"), line, gap | {"long_name": words}),
                f"radius_{along}": ((along, along + "s"), radii, radius | {"long_name": "mean radius"}),
            }
            symbol = {"clock": "$c$", "depth": "$t$"}[along]
            coords[along] = (along, at, {"long_name": along, "symbol": symbol})
            depths = np.stack([self._depths(name, at) for name in names], axis=-1)
            variables[f"depth_{along}"] = ((along, along + "s"), depths, {"long_name": "depth", "symbol": "$t$"})
            coords[along + "s"] = (along + "s", names, {"long_name": "placement", "symbol": "placement"})
        return xr.Dataset(variables, coords=coords)

    def _depths(self, name: str, at: np.ndarray) -> np.ndarray:
        """The depths at which the clock of a placement shows something."""
        if name == "SqrtDepth":
            return (1 + at / 2) ** 2 - 1
        return at / float(self.alpha) if name == "NGPT" else at

    def _followed(self, name: str, x0: Float[Array, "n d"], depths: np.ndarray) -> np.ndarray:
        """One minus the mean cosine, and the mean radius, at some depths."""
        norm = pt.norms.Post() if self.control else self._norm(name)
        law = pt.laws.Normalized(pt.Attention(pt.DotProduct(self.beta)), norm)
        plan = pt.Plan(depths[-1], save=tuple(depths), solver="Dopri8", rtol=1e-11, atol=1e-13)
        run = pt.solve(pt.Flow(pt.Sphere() if norm.spherical else pt.Euclidean(), law), x0, plan).complete()
        tokens = np.asarray(run.tokens)[1:]
        size = np.linalg.norm(tokens, axis=-1)
        theta, (rows, columns) = tokens / size[..., None], np.triu_indices(self.tokens, 1)
        return np.stack(
            [np.mean(np.sum((theta[:, rows] - theta[:, columns]) ** 2, axis=-1) / 2, axis=-1), size.mean(axis=-1)]
        )

    def _norm(self, name: str) -> Any:
        return getattr(pt.norms, name)(**({"alpha": self.alpha} if name == "NGPT" else {}))

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        checks = []
        for k, name in enumerate(data.clocks.values if "clock" in data else ()):
            clock, gap = data.clock.values, data.gap_clock.values[:, k]
            near = (gap < NEAR) & (gap > FAR)
            slope = _slope(clock[near], np.log(gap[near]))
            checks.append(pt.Check(f"{name}: rate in its clock", slope, -2, 2e-3, "the next term, 1 - g"))
        for k, name in enumerate(data.depths.values if "depth" in data else ()):
            late = data.depth.values >= 0.099 * data.depth.values[-1]
            depth, gap, radius = (data[one].values[late] for one in ("depth", "gap_depth", "radius_depth"))
            log_gap, log_radius = np.log(np.maximum(gap[:, k], np.finfo(float).tiny)), np.log(radius[:, k])
            in_radius, in_depth = _slope(log_radius, log_gap), _slope(np.log(depth), log_gap)
            checks += [
                pt.Check(f"{name}: slope of 1 - g in the radius", in_radius, -2, 1e-3, "the next term, 1 - g"),
                pt.Check(f"{name}: slope of 1 - g in depth", in_depth, -2, 100 / depth[-1], "c in (t + c)^(-2)"),
            ]
        return tuple(checks)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        panels = []
        if "clock" in data:
            panels.append(
                Curves("depth_clock", ("gap_clock",), ("law_clock",), by="clocks", log="y", title="exponential")
            )
        if "depth" in data:
            panels.append(Curves("depth", ("gap_depth",), ("law_depth",), by="depths", log="xy", title="algebraic"))
            panels.append(Curves("depth", ("radius_depth",), by="depths", log="xy", slopes=(1.0,), title="radius"))
        return tuple(panels)

    def shrunk(self) -> "NormPlacementRates":
        return dataclasses.replace(self, placements=("Pre",), until=1e3)


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the straight line through points; NaN if there are fewer than two different ones."""
    return float(np.polyfit(x, y, 1)[0]) if len(np.unique(x)) > 1 else np.nan
