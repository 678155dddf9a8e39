"""Tokens at the quantiles of a density follow the mean-field equation."""

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
from particles.experiment import most

SHOWN = 5  # modes in the figure


class MeanFieldModes(pt.AbstractClaim):
    """Tokens at the quantiles of a smooth density on the circle follow its mean-field equation to many digits.

    Three ways agree: tokens, the mean-field flow of the same law, and the mode equations of the kernel by SciPy.

    Parameters
    ----------
    tokens : how many; the error falls faster than any power of their number until a cluster forms.
    beta : inverse temperature.
    until : the last depth, before a cluster forms.
    modes : of SciPy's equations and of the mean-field flow.
    control : the negative control: the tokens have softmax attention.

    Source
    ------
    geshkovski2023perspective, for the equation; its modes derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(192, ge=8)
    beta: Float[Array, ""] = parameter(1.5, gt=0)
    until: Float[Array, ""] = parameter(0.9, gt=0)
    modes: int = option(80, ge=8)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        beta, plan = float(self.beta), pt.Plan(self.until, save=12, rtol=1e-11, atol=1e-13, solver="Dopri8")
        law = pt.Attention(pt.DotProduct(beta), normalizer=pt.Mean())
        moving = pt.Attention(pt.DotProduct(beta)) if self.control else law
        angles = limits.circle_modes.wavy(limits.circle_modes.quantiles(self.tokens))
        x0 = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))
        run = pt.solve(pt.Flow(pt.Sphere(), moving), x0, plan).complete()
        start = limits.circle_modes.push_forward(limits.circle_modes.wavy, self.modes)
        flow = limits.MeanField(law, limits.Circle(self.modes, nodes=int(2.5 * self.modes)))
        field = pt.solve(flow, _coefficients(start), plan).complete().tokens
        exact = limits.circle_modes.follow(np.asarray(run.times), start, beta)
        x, k = np.asarray(run.tokens), np.arange(1, SHOWN + 1)
        phases = np.arctan2(x[:, :, 1], x[:, :, 0])
        tokens = np.exp(-1j * k[None, None, :] * phases[:, :, None]).mean(axis=1)
        density = _modes(np.asarray(field))
        symbol, wrong = {"symbol": "$|m_k|$"}, {"symbol": "$|m_k - m_k^*|$"}
        at = ("time", "mode")
        return xr.Dataset(
            {
                "tokens": (at, np.abs(tokens), symbol | {"long_name": "tokens"}),
                "field": (at, np.abs(density[:, 1 : SHOWN + 1]), symbol | {"long_name": "mean-field flow"}),
                "exact": (at, np.abs(exact[:, 1 : SHOWN + 1]), symbol | {"long_name": "mode equations"}),
                "token_error": (at, np.abs(tokens - exact[:, 1 : SHOWN + 1]) + 1e-17, wrong | {"long_name": "tokens"}),
                "field_error": (
                    at,
                    np.abs(density - exact)[:, 1 : SHOWN + 1] + 1e-17,
                    wrong | {"long_name": "mean-field flow"},
                ),
                "mass": ("time", np.abs(np.asarray(field)[:, 0, 0] - 1), {"long_name": "change of the mass"}),
            },
            coords={
                "time": ("time", np.asarray(run.times), {"symbol": "$t$", "long_name": "depth"}),
                "mode": ("mode", k, {"symbol": "$k$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "solver; modes decay like those of the kernel"
        return (
            pt.Check("error of the tokens' modes", most(data.token_error), 0.0, 1e-8, reason),
            pt.Check("error of the mean-field flow", most(data.field_error), 0.0, 1e-8, reason),
            pt.Check("change of the mass", most(data.mass), 0.0, 0.0, "kept to the bit"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("time", ("tokens", "field"), ("exact",), by="mode", title="modes of the density"),
            Curves("time", ("token_error", "field_error"), by="mode", log="y", title="error"),
        )

    def shrunk(self) -> "MeanFieldModes":
        return dataclasses.replace(self, tokens=128, modes=48, until=jnp.asarray(0.5))


def _coefficients(m: np.ndarray) -> jnp.ndarray:
    """Modes as coefficients in the orthonormal basis of `Circle`."""
    scale = np.where(np.arange(len(m)) == 0, 1.0, np.sqrt(2.0))
    return jnp.asarray(np.stack([scale * m.real, -scale * m.imag], axis=1))


def _modes(c: np.ndarray) -> np.ndarray:
    """The reverse, for every depth."""
    scale = np.where(np.arange(c.shape[1]) == 0, 1.0, np.sqrt(2.0))
    return (c[..., 0] - 1j * c[..., 1]) / scale
