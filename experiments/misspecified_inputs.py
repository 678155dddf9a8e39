"""A few wrong tokens change what attention makes of a cloud by no more than is proved."""

import dataclasses
import itertools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import bounds
from particles.analysis.misspecification import Moved, WrongCloud, response
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

FACTORS = {"transport": bounds.transport_bound, "displacement": bounds.displacement_bound}


class MisspecifiedInputs(pt.AbstractClaim):
    """What attention makes of k wrong tokens of n is off by no more than is proved, in W_1 and token by token.

    They are wrong by delta, so that in W_1 the inputs differ by at most k delta / n, and the outputs by at most
    v (a R^2 + (1 + 2 a R^2) e^(2 a R^2)) times as much; token by token inputs differ by delta, and outputs by at most
    v (1 + 2 a R^2) times as much. Half of the draws move the wrong tokens each in a direction of its own, half all in
    one, which comes nearest to the bounds where a R^2 is small.

    Parameters
    ----------
    tokens, dim : of a start in the ball.
    slopes : a, the norm of the logits' matrix.
    value : v, the norm of the value matrix, a multiple of a rotation.
    radius : R of the ball that holds right and wrong tokens.
    delta : by how much a token is wrong.
    counts : k, how many are.
    draws : of wrong tokens, for each count.
    seed : of matrices, start and wrong tokens.
    control : the negative control: the value matrix is twice what the bounds are told.

    Source
    ------
    vuckovic2020mathematical, vuckovic2021regularity; constants derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(32, ge=2)
    dim: int = option(3, ge=1)
    slopes: tuple[float, ...] = option((0.02, 0.3, 1.0), gt=0)
    value: Float[Array, ""] = parameter(0.9, gt=0)
    radius: Float[Array, ""] = parameter(1.0, gt=0)
    delta: Float[Array, ""] = parameter(0.2, gt=0)
    counts: tuple[int, ...] = option((1, 2, 4, 8, 16, 32), ge=1)
    draws: int = option(16, ge=2)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical", "vuckovic2021regularity")

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), self.dim
        form, value = (np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2))
        value *= float(self.value) * (2 if self.control else 1)
        keys = jax.random.split(jax.random.key(self.seed), (1 + len(self.counts), self.draws))
        within = pt.Ball(jnp.maximum(self.radius - self.delta, 1e-3))
        x = within.uniform(keys[0, 0], self.tokens, d)
        tries = itertools.product(enumerate(self.counts), range(self.draws))
        wrong = [self._wrong(x, keys[1 + j, k], count, k) for (j, count), k in tries]
        clouds = jnp.stack([x, *(one.tokens for one in wrong)])

        def attended(slope: Float[Array, ""]) -> Float[Array, "cloud n d"]:
            law = pt.Attention(pt.DotProduct(1.0, form=slope * jnp.asarray(form)), value=pt.values.Linear(value))
            return jax.vmap(lambda x: law(jnp.zeros(()), x, pt.Dense()))(clouds)

        images = np.asarray(eqx.filter_jit(jax.vmap(attended))(jnp.asarray(self.slopes)))
        found = [[response(x, one, at[0], image) for one, image in zip(wrong, at[1:], strict=True)] for at in images]
        return self._dataset(found)

    def _wrong(self, x: Float[Array, "n d"], key: jax.Array, count: int, draw: int) -> WrongCloud:
        return Moved(self.delta, together=draw % 2 == 1)(pt.Ball(self.radius), x, key, count)

    def _dataset(self, found: list) -> xr.Dataset:
        """What was measured of every slope, count and draw, beside what is proved."""
        shape, share = (len(self.slopes), len(self.counts), self.draws), np.asarray(self.counts) / self.tokens
        table = lambda name: np.reshape([[getattr(one, name) for one in row] for row in found], shape)  # noqa: E731
        given = {"transport": float(self.delta) * share, "displacement": np.full(len(share), float(self.delta))}
        words = {
            "transport": {"symbol": "$W_1$", "long_name": "clouds"},
            "displacement": {"symbol": r"$\max_i |y_i - y_i'|$", "long_name": "tokens"},
        }
        variables: dict[str, tuple] = {}
        for name, before, after in (("transport", "before", "after"), ("displacement", "moved_before", "moved_after")):
            factor = np.array([FACTORS[name](slope, float(self.value), float(self.radius)) for slope in self.slopes])
            bound = factor[:, None] * given[name][None, :]
            variables[name] = (("slope", "count"), table(after).max(axis=2), words[name])
            variables[f"{name}_bound"] = (("slope", "count"), bound, words[name] | {"long_name": "at most"})
            variables[f"{name}_input"] = ("count", table(before)[0].max(axis=1) / given[name], {"long_name": "input"})
        return xr.Dataset(
            variables,
            coords={
                "slope": ("slope", list(self.slopes), {"symbol": "$a$"}),
                "count": ("count", list(self.counts), {"symbol": "$k$", "long_name": "wrong tokens"}),
            },
        )

    def outside(self, data: xr.Dataset) -> str:
        delta, radius = float(self.delta), float(self.radius)
        return "" if delta < radius else f"A token wrong by {delta:g} need not be in a ball of radius {radius:g}."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slack, found = "an inequality; rounding", []
        for name, words in (("transport", "W_1"), ("displacement", "largest displacement")):
            ratio, given = most(data[name] / data[f"{name}_bound"]), most(data[f"{name}_input"])
            found.append(pt.Check(f"{words} of inputs over its bound", given, 1, 1e-9, slack, pt.Sense.at_most))
            found.append(pt.Check(f"{words} of outputs over its bound", ratio, 1, 1e-9, slack, pt.Sense.at_most))
        closest = most(data.displacement / data.displacement_bound)
        reason = "attained as a R^2 tends to 0"
        return (*found, pt.Check("closest approach of a displacement", closest, 0.9, 0, reason, pt.Sense.at_least))

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return tuple(
            Curves("count", (name,), bounds=(f"{name}_bound",), by="slope", log="xy", title=title)
            for name, title in (("transport", "clouds"), ("displacement", "tokens with labels"))
        )

    def shrunk(self) -> "MisspecifiedInputs":
        return dataclasses.replace(self, tokens=12, slopes=(0.02, 1.0), counts=(2, 12), draws=4)
