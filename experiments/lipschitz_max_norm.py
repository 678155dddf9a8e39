"""Attention in the largest displacement of a token: a Lipschitz constant without an exponential."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import LawMap, bounds
from particles.analysis.drawing import drawn
from particles.analysis.worst_case import worst_case
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class LipschitzMaxNorm(pt.AbstractClaim):
    """In the largest displacement of a token attention is v (1 + 2 a R^2)-Lipschitz on a ball: there is no exponential.

    Held against random clouds, by the sums over rows of the norms of the Jacobian's blocks, which are no less than the
    constant, and against clouds that gradient ascent makes worse. In W_1 the worst clouds of as many tokens soon go
    beyond.

    Parameters
    ----------
    tokens, dim : how many tokens in what dimension.
    slopes : s = a R^2, which is a in the unit ball.
    value : v, the norm of the value matrix.
    random : how many random clouds.
    starts, steps : of the ascents.
    seed : of matrices and clouds.
    control : the negative control: weights that are not normalized, with the normalizer Mean.

    Source
    ------
    vuckovic2021regularity, for the topic; the constant derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(32, ge=2)
    dim: int = option(2, ge=1)
    slopes: tuple[float, ...] = option((0.1, 0.3, 1.0, 3.0, 10.0, 30.0), gt=0)
    value: Float[Array, ""] = parameter(0.9, gt=0)
    random: int = option(1700, ge=1)
    starts: int = option(24, ge=1)
    steps: int = option(600, ge=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity",)

    def data(self) -> xr.Dataset:
        found = [self._found(LawMap(pt.Flow(pt.Euclidean(), self._law(slope)))) for slope in self.slopes]
        columns = {name: np.array([one[name] for one in found]) for name in found[0]}
        size = float(self.value)
        proved = np.array([bounds.displacement_bound(slope, size, 1.0) for slope in self.slopes])
        words = {"symbol": r"$\mathrm{Lip}$"}
        return xr.Dataset(
            {
                "best": ("slope", columns["best"], words | {"long_name": "worst found"}),
                "sums": ("slope", columns["sums"], words | {"long_name": "random clouds, sums over rows"}),
                "transport": (
                    "slope",
                    columns["transport"],
                    words | {"long_name": "worst found of the mean displacement"},
                ),
                "proved": ("slope", proved, words | {"long_name": "proved"}),
                "share": ("slope", columns["best"] / proved, {"long_name": "worst found over proved"}),
                "largest": ("slope", np.maximum(columns["sums"], columns["own"]) / proved, {"long_name": "sums"}),
            },
            coords={"slope": ("slope", list(self.slopes), {"symbol": "$aR^2$", "long_name": "logits"})},
        )

    def _law(self, slope: float) -> pt.AbstractLaw:
        rng = np.random.default_rng(self.seed)
        form, value = (np.linalg.qr(rng.normal(size=(self.dim, self.dim)))[0] for _ in range(2))
        normalizer = pt.Mean() if self.control else pt.Softmax()
        score, value = pt.DotProduct(1.0, form=slope * form), pt.values.Linear(float(self.value) * value)
        return pt.Attention(score, normalizer=normalizer, value=value)

    def _found(self, moved: LawMap) -> dict[str, float]:
        """The worst found in both norms, and the largest sum over a row at random clouds and at the worst one."""
        keys, (n, d) = jax.random.split(jax.random.key(self.seed), 3), (self.tokens, self.dim)
        search = {"n": n, "d": d, "radius": 1.0, "starts": self.starts, "steps": self.steps}
        best = worst_case(moved, "max", key=keys[0], **search)
        clouds = jnp.concatenate([best.tokens[None], drawn(pt.Ball(1.0), keys[2], self.random, n, d)])
        own, *sums = np.asarray(_row_sums(moved, clouds))
        transport = float(worst_case(moved, "W1", key=keys[1], **search).value)
        return {"best": float(best.value), "transport": transport, "sums": most(sums), "own": float(own)}

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "an inequality; rounding"
        return (
            pt.Check("worst found over proved", most(data.share), 1.0, 1e-9, reason, pt.Sense.at_most),
            pt.Check("largest sum over a row over proved", most(data.largest), 1.0, 1e-9, reason, pt.Sense.at_most),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("slope", ("best", "sums", "transport"), bounds=("proved",), log="xy", title="largest displacement"),
            Curves("slope", ("share",), log="x", title="how near"),
        )

    def shrunk(self) -> "LipschitzMaxNorm":
        return dataclasses.replace(self, tokens=6, slopes=(0.3, 10.0), random=50, starts=4, steps=80)


@eqx.filter_jit
def _row_sums(moved: LawMap, clouds: Float[Array, "s n d"]) -> Float[Array, " s"]:
    """The largest sum over a row of the norms of the Jacobian's blocks, of each cloud."""

    def one(x: Float[Array, "n d"]) -> Float[Array, ""]:
        blocks = jnp.linalg.norm(jnp.moveaxis(moved.jacobian(x), 2, 1), 2, axis=(2, 3))
        return jnp.max(jnp.sum(blocks, axis=1))

    return jax.lax.map(one, clouds, batch_size=20)
