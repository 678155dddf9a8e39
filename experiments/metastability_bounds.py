"""Tokens in well separated caps stay there for a depth that is exponential in beta."""

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
from particles.limits.metastability import Caps, overlap

FRAMES = 160
LOOSE = "an inequality, loose by design"
SHARE = 0.9  # of the largest rate lam for which the bounds are shown


class MetastabilityBounds(pt.AbstractClaim):
    """Tokens in well separated caps keep to them for a depth exponential in beta, and gather within them meanwhile.

    Two bounds, both loose: up to T_2 no token leaves the cap of twice the size, and from T_1 on tokens of a cap are
    closer than 2 exp(-lam beta), squared. Caps and tokens are drawn at random; the law of the mean is on the clock of
    exp(beta (<x, y> - 1)).

    Parameters
    ----------
    tokens : of each of three caps.
    beta : inverse temperature.
    size : epsilon, of the caps.
    draws : how many random sets of caps and tokens.
    seed : of the draws.
    control : the negative control: the tokens have a tenth of beta, the bounds all of it.

    Source
    ------
    geshkovski2024dynamic, with constants as corrected by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(2, ge=2)
    beta: Float[Array, ""] = parameter(28.0, gt=1)
    size: Float[Array, ""] = parameter(0.005, gt=0, lt=0.0625)
    draws: int = option(8, ge=1)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2024dynamic",)

    def outside(self, data: xr.Dataset) -> str:
        if not data.attrs["margin"] > 0:
            return "the caps are not well separated: gamma is not positive"
        return "" if data.attrs["window"] > 0 else "no rate lam for which the bounds say anything"

    def data(self) -> xr.Dataset:
        beta, size = float(self.beta), float(self.size)
        centers, x0 = self._drawn()
        caps = [Caps(x0.shape[1], beta, size, overlap(each, 2 * size)) for each in centers]
        tightness = [SHARE * cap.largest_tightness for cap in caps]
        until = min(cap.kept for cap in caps)
        gathered = max(cap.gathered(lam) for cap, lam in zip(caps, tightness, strict=True))
        depths = tuple(np.geomspace(0.01, until, FRAMES))
        softmax = self._followed(centers, x0, pt.Softmax(), depths)
        mean = self._followed(centers, x0, pt.Mean(offset=self._beta()), depths)
        spread = max(cap.spread(lam) for cap, lam in zip(caps, tightness, strict=True))
        low = {"symbol": r"$1-\langle x_i,w_q\rangle$"}
        wide, at = {"symbol": "$|x_i-x_j|^2$"}, ("depth", "draw")
        return xr.Dataset(
            {
                "low_softmax": (at, softmax[0], low | {"long_name": "softmax"}),
                "low_mean": (at, mean[0], low | {"long_name": "mean"}),
                "edge": ("depth", np.full(FRAMES, 2 * size), low | {"long_name": "edge of the cap"}),
                "wide_softmax": (at, softmax[1], wide | {"long_name": "softmax"}),
                "wide_mean": (at, mean[1], wide | {"long_name": "mean"}),
                "bound": (
                    "depth",
                    np.where(np.asarray(depths) >= gathered, spread, np.nan),
                    wide | {"long_name": "bound at late depths"},
                ),
            },
            coords={
                "depth": ("depth", list(depths), {"long_name": "depth", "symbol": "$t$"}),
                "draw": np.arange(self.draws),
            },
            attrs={
                "margin": min(cap.margin for cap in caps),
                "window": min(
                    *(lam - cap.least_tightness for cap, lam in zip(caps, tightness, strict=True)), until - gathered
                ),
            },
        )

    def _beta(self) -> Float[Array, ""]:
        return self.beta / 10 if self.control else self.beta

    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Three directions close to orthogonal, `[draw cap dim]`, and tokens in their caps, `[draw token dim]`."""
        rng = np.random.default_rng(self.seed)
        centers = np.eye(3) + 0.05 * rng.normal(size=(self.draws, 3, 3))
        centers /= np.linalg.norm(centers, axis=-1, keepdims=True)
        around = np.repeat(centers, self.tokens, axis=1)
        tangent = rng.normal(size=around.shape)
        tangent -= np.sum(tangent * around, axis=-1, keepdims=True) * around
        tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
        cosine = 1 - float(self.size) * rng.uniform(size=(*around.shape[:2], 1))
        return centers, cosine * around + np.sqrt(1 - cosine**2) * tangent

    def _followed(
        self, centers: np.ndarray, x0: np.ndarray, normalizer: pt.Softmax | pt.Mean, depths: tuple[float, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far from its center a token is at most, and two of a cap from each other, `[depth draw]`."""
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(self._beta()), normalizer=normalizer))
        plan = pt.Plan(depths[-1], save=depths, rtol=1e-8, atol=1e-11)
        run = eqx.filter_vmap(lambda start: pt.solve(flow, start, plan))(jnp.asarray(x0)).complete()
        x = np.asarray(run.tokens)[:, 1:].reshape(len(x0), FRAMES, 3, self.tokens, 3)
        low = 1 - np.einsum("rtqid,rqd->rtqi", x, centers).min(axis=(2, 3))
        apart = np.sum((x[:, :, :, :, None] - x[:, :, :, None]) ** 2, axis=-1)
        return low.T, np.maximum(apart.max(axis=(2, 3, 4)), 1e-24).T

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        edge, spread, at_most = float(data.edge[0]), float(data.bound[-1]), pt.Sense.at_most
        late = data.bound.notnull()
        return tuple(
            check
            for law in ("softmax", "mean")
            for check in (
                pt.Check(
                    f"farthest from a center up to T_2, {law}",
                    float(data[f"low_{law}"].max()),
                    edge,
                    0.0,
                    LOOSE,
                    at_most,
                ),
                pt.Check(
                    f"widest cap from T_1 on, squared, {law}",
                    float(data[f"wide_{law}"].where(late).max()),
                    spread,
                    0.0,
                    LOOSE,
                    at_most,
                ),
            )
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("low_softmax", "low_mean"), bounds=("edge",), log="xy", title="tokens keep to their caps"),
            Curves("depth", ("wide_softmax", "wide_mean"), bounds=("bound",), log="xy", title="and gather"),
        )

    def shrunk(self) -> "MetastabilityBounds":
        return dataclasses.replace(self, draws=2, beta=jnp.asarray(25.0))
