"""Two clusters wait for each other, the longer the more unequal they are."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.limits import two_clusters


class TwoClusters(pt.AbstractClaim):
    """Two clusters of any masses close their angle in the depth of a quadrature; a mass is as good as many tokens.

    Parameters
    ----------
    tokens : how many, in two groups that coincide.
    groups : how many of them are in the smaller one.
    beta : inverse temperature.
    first, last : the angle at the start, and the one up to which it is followed.
    kinds : normalizers, of "softmax" and "mean".
    control : the negative control: the theory takes both clusters for equal.

    Source
    ------
    geshkovski2023perspective and rigollet2025meanfield for equal masses; with masses derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(12, ge=3)
    groups: tuple[int, ...] = option((1, 2, 4, 6))
    beta: Float[Array, ""] = parameter(4.0, ge=0)
    first: Float[Array, ""] = parameter(2.5, gt=0, lt=3.1415)
    last: Float[Array, ""] = parameter(0.2, gt=0)
    kinds: tuple[two_clusters.Kind, ...] = option(("softmax", "mean"))
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective", "rigollet2025meanfield")

    def outside(self, data: xr.Dataset) -> str:
        return "" if all(0 < k < self.tokens for k in self.groups) else "a cluster has no token"

    def data(self) -> xr.Dataset:
        at, depth, angle = ("share", "frame"), {"symbol": "$t$"}, {"long_name": "angle", "symbol": r"$\varphi$"}
        found: dict[str, tuple] = {}
        for kind in self.kinds:
            depths, many, two, *exact = self._closing(kind)
            found |= {
                f"{kind}_angle": (at, many, angle),
                f"{kind}_depth": (at, depths, depth | {"long_name": "groups of tokens"}),
                f"{kind}_masses_angle": (at, two, angle),
                f"{kind}_masses_depth": (at, depths, depth | {"long_name": "two with masses"}),
                f"{kind}_exact": (at, exact[0], depth | {"long_name": "theory"}),
                f"{kind}_masses_exact": (at, exact[1], depth | {"long_name": "theory"}),
            }
        shares = np.round(np.asarray(self.groups) / self.tokens, 3)
        return xr.Dataset(found, coords={"share": ("share", shares, {"long_name": "smaller mass", "symbol": "$m_1$"})})

    def _closing(self, kind: two_clusters.Kind) -> tuple[np.ndarray, ...]:
        """Depths, angles of two groups and of two tokens with masses, and the depths of theory at both, by share."""
        beta, first, count = float(self.beta), float(self.first), self.tokens
        masses = [(k / count, 1 - k / count) for k in self.groups]
        untils = jnp.asarray([two_clusters.waiting_time(first, float(self.last), beta, pair, kind) for pair in masses])
        normalizer = pt.Softmax() if kind == "softmax" else pt.Mean()
        ends = jnp.asarray([[1.0, 0.0], [np.cos(first), np.sin(first)]])
        places = jnp.stack([ends[(jnp.arange(count) >= k).astype(int)] for k in self.groups])
        single = np.zeros((len(masses), count))
        single[:, 0], single[:, -1] = np.asarray(masses).T
        spread = jnp.asarray(np.stack([np.full_like(single, 1 / count), single]))

        def along(weight: Float[Array, " n"], x0: Float[Array, "n d"], until: Float[Array, ""]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(beta), pt.Masses(weight), normalizer)
            plan = pt.Plan(until, save=32, solver="Dopri8", rtol=1e-11, atol=1e-13)
            return pt.solve(pt.Flow(pt.Sphere(), law), x0, plan)

        over_groups = eqx.filter_vmap(along)
        run = eqx.filter_vmap(over_groups, in_axes=(0, None, None))(spread, places, untils).complete()
        angles = _angles(run.tokens)[:, :, 1:]
        known = [two_clusters.EQUAL if self.control else pair for pair in masses]
        exact = [
            [
                [two_clusters.waiting_time(first, phi, beta, pair, kind) for phi in row]
                for row, pair in zip(one, known, strict=True)
            ]
            for one in angles
        ]
        return (np.asarray(run.times)[0, :, 1:], *angles, *map(np.asarray, exact))

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        found = []
        for kind in self.kinds:
            for name, who in ((kind, "groups of tokens"), (f"{kind}_masses", "two with masses")):
                worst = float(np.max(np.abs(data[f"{name}_depth"] / data[f"{name}_exact"] - 1)))
                words = f"largest relative error of the depth, {kind}, {who}"
                found.append(pt.Check(words, worst, 0.0, 1e-8, "error of the solver at rtol 1e-11"))
        return tuple(found)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return tuple(
            Curves(
                f"{kind}_angle",
                (f"{kind}_depth", f"{kind}_masses_depth"),
                (f"{kind}_exact",),
                by="share",
                log="y",
                title=kind,
            )
            for kind in self.kinds
        )

    def shrunk(self) -> "TwoClusters":
        return dataclasses.replace(self, tokens=3, groups=(1,), kinds=("softmax",))


def _angles(x: Array | None) -> np.ndarray:
    """The angle between the first and the last token of each frame, to full precision at any angle."""
    first, last = np.asarray(x)[..., 0, :], np.asarray(x)[..., -1, :]
    crossed = first[..., 0] * last[..., 1] - first[..., 1] * last[..., 0]
    return np.arctan2(np.abs(crossed), np.sum(first * last, axis=-1))
