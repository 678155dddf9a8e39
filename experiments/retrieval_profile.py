"""What is found of a token depends on where it stands: most of the first and of the last, least of one between."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

AWAY = 0.05  # from the ends of the context, where the profile is compared


class RetrievalProfile(pt.AbstractClaim):
    """Causal attention that fades with distance retrieves the last token as a known profile, with one minimum inside.

    Linear attention on the line: token i is pulled at the rate a by the mean of those before it, with weights that fall
    as exp(-lam) over the context. Every token has a coordinate of its own, so that one run tells what the last token
    has of each; the profile of the continuum is met at the rate 1/n.

    Parameters
    ----------
    tokens : two numbers, the second twice the first, from which the continuum is extrapolated.
    decay : lam.
    pull : a t.
    control : the negative control: weights that do not fade.

    Source
    ------
    duerinckx2026kinetic; the run and its limit derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: tuple[int, int] = option((256, 512))
    decay: Float[Array, ""] = parameter(1.0, gt=0)
    pull: Float[Array, ""] = parameter(0.8, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("duerinckx2026kinetic",)

    def outside(self, data: xr.Dataset) -> str:
        if self.tokens[1] != 2 * self.tokens[0]:
            return "the second number of tokens is not twice the first"
        largest = limits.retrieval.largest_pull(float(self.decay))
        return "" if float(self.pull) <= largest else f"one minimum is shown for a t <= {largest:.4g} alone"

    def data(self) -> xr.Dataset:
        pull, decay = float(self.pull), float(self.decay)
        coarse, fine = (self._retrieved(n) for n in self.tokens)
        places = np.arange(1, self.tokens[0]) / self.tokens[0]
        fine = fine[1::2]
        exact = np.asarray([limits.retrieval.profile(1.0, s, pull, decay) for s in places])
        residuals = [limits.retrieval.residual(1.0, s, pull, decay) for s in places[:: len(places) // 12]]
        inside = (places > AWAY) & (places < 1 - AWAY)
        found, wrong = {"symbol": "$g(1;s_0)$"}, {"symbol": r"$|\Delta g|/g$"}
        off = lambda one: np.where(inside, np.abs(one / exact - 1), np.nan)  # noqa: E731
        return xr.Dataset(
            {
                "retrieved": ("place", 2 * fine - coarse, found | {"long_name": "extrapolated"}),
                "exact": ("place", exact, found | {"long_name": "theory"}),
                "coarse": ("place", off(coarse), wrong | {"long_name": f"{self.tokens[0]} tokens"}),
                "fine": ("place", off(fine), wrong | {"long_name": f"{self.tokens[1]} tokens"}),
                "beyond": ("place", off(2 * fine - coarse), wrong | {"long_name": "extrapolated"}),
                "residual": ((), np.max(np.abs(residuals)), {"long_name": "largest residual of the profile"}),
                "turns": ((), limits.retrieval.turns(fine), {"long_name": "minima"}),
            },
            coords={"place": ("place", places, {"long_name": "place of the token", "symbol": "$s_0$"})},
        )

    def _retrieved(self, n: int) -> np.ndarray:
        """What the last token has of each one before it, times their number."""
        slope = 0.0 if self.control else float(self.decay) / n
        law = pt.Attention(pt.scores.Constant(), pt.measures.ALiBi(slope))
        plan = pt.Plan(self.pull, save=1, solver="Dopri8", rtol=1e-10, atol=1e-13)
        run = pt.solve(pt.Flow(pt.Euclidean(), law), n * jnp.eye(n), plan).complete()
        return np.asarray(run.final[-1, :-1])

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        n = self.tokens[0]
        order = float(np.nanmedian(data.coarse / data.fine))
        return (
            pt.Check("largest residual of the profile's equation", float(data.residual), 0.0, 1e-8, "quadrature"),
            pt.Check("error of n tokens over that of 2 n", order, 2.0, 0.1, "the rate is 1/n"),
            pt.Check(
                "largest error, extrapolated", float(np.nanmax(data.beyond)), 0.0, 20 / n**2, "the next term is 1/n^2"
            ),
            pt.Check("turns of the profile", float(data["turns"]), 1, 0, "a count: it falls, then rises"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("place", ("retrieved",), ("exact",), title="what the last token retrieves"),
            Curves("place", ("coarse", "fine", "beyond"), log="y", title="error"),
        )

    def shrunk(self) -> "RetrievalProfile":
        return dataclasses.replace(self, tokens=(64, 128))
