"""How the Jacobian of attention grows with the number of tokens, and with the ball that holds them."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.optimize import minimize_scalar

import particles as pt
from particles.analysis import LawMap, bounds
from particles.analysis.local import local_lipschitz
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

WINDOW = 0.1  # of e^(a R^2 / 4): up to that many tokens the growth is that of a root
LEAST = 16  # tokens in the window


class JacobianGrowth(pt.AbstractClaim):
    """The Jacobian of attention grows like the root of the number of tokens, and then no more.

    On the line, some tokens stand at R and the others at R/2. One token at R draws the attention of all n - 1 others as
    long as n is well below e^(a R^2 / 4), and its displacement alone moves all of them: the norm is at least
    sqrt(n - 1) p (1 + a (R - m) R / 2), p its weight and m the mean that the others see. The norm of two groups is that
    of a matrix of size 2, which depends on their shares alone: with the best shares it no longer depends on n.

    Parameters
    ----------
    slope : a, of the logits a x y.
    balls : values of R, for which n varies, decreasing.
    sizes : values of n, increasing.
    wide : the n for which R varies.
    radii : values of R, for that n.
    control : the negative control: L2 attention, whose Jacobian does not grow so.

    Source
    ------
    castin2024smooth, for the two regimes; the example worked out by hand.
    """

    minutes: ClassVar[float] = 1.5
    slope: Float[Array, ""] = parameter(1.0, gt=0)
    balls: tuple[float, ...] = option((7.0, 4.9, 3.0), converter=tuple, gt=0)
    sizes: tuple[int, ...] = option((4, 16, 64, 256, 1024, 4096), converter=tuple, ge=2)
    wide: int = option(256, ge=2)
    radii: tuple[float, ...] = option(
        (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0), converter=tuple, gt=0
    )
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2024smooth",)

    def data(self) -> xr.Dataset:
        a = float(self.slope)
        score = pt.SquaredDistance(a) if self.control else pt.DotProduct(a)
        moved = LawMap(pt.Flow(pt.Euclidean(), pt.Attention(score)))
        clouds = [[(_best(n, r, a), n, r) for r in self.balls] for n in self.sizes]
        wide = [(_best(self.wide, r, a), self.wide, r) for r in self.radii]
        words = {"symbol": r"$\|D\Gamma\|$"}
        found, exact = words | {"long_name": "measured"}, words | {"long_name": "two groups"}
        above, below = words | {"long_name": "proved bound"}, words | {"long_name": "one token at R, at least"}
        both = ("tokens", "ball")
        return xr.Dataset(
            {
                "norm": (both, [[_measured(moved, *cloud) for cloud in row] for row in clouds], found),
                "exact": (both, [[_exact(*cloud, a) for cloud in row] for row in clouds], exact),
                "above": (both, [[_above(n, r, a) for r in self.balls] for n in self.sizes], above),
                "below": (both, [[_below(n, r, a) for r in self.balls] for n in self.sizes], below),
                "limit": ("ball", [_limit(r, a) for r in self.balls], words | {"long_name": "the best of all shares"}),
                "wide": ("radius", [_measured(moved, *cloud) for cloud in wide], found),
                "wide_exact": ("radius", [_exact(*cloud, a) for cloud in wide], exact),
                "wide_above": ("radius", [_above(self.wide, r, a) for r in self.radii], above),
            },
            coords={
                "tokens": ("tokens", list(self.sizes), {"symbol": "$n$", "long_name": "number of tokens"}),
                "ball": ("ball", list(self.balls), {"symbol": "$R$", "long_name": "radius of the ball"}),
                "radius": ("radius", list(self.radii), {"symbol": "$R$", "long_name": "radius of the ball"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        off = max(
            most(np.abs(data[name] / data[against] - 1))
            for name, against in (("norm", "exact"), ("wide", "wide_exact"))
        )
        over = max(most(data.norm / data.above), most(data.wide / data.wide_above))
        least = float((data.norm / data.below).min())
        widest = data.isel(ball=0)
        window = widest.where((data.tokens >= LEAST) & (data.tokens <= self._window()), drop=True)
        last = float((data.norm / data.limit)[-1, -1])
        slack = "an inequality; rounding"
        return (
            pt.Check("relative error against two groups", off, 0, 1e-6, "that of the singular value"),
            pt.Check("share of the proved bound", over, 1, 1e-9, slack, pt.Sense.at_most),
            pt.Check("one token at R, at least", least, 1, 1e-9, slack, pt.Sense.at_least),
            pt.Check("over that, few tokens", most(window.norm / window.below), 1, 0.1, "own terms", pt.Sense.at_most),
            pt.Check("many tokens over the best share", last, 1, 0.02, "shares are of whole tokens"),
        )

    def _window(self) -> float:
        return WINDOW * float(np.exp(float(self.slope) * self.balls[0] ** 2 / 4))

    def outside(self, data: xr.Dataset) -> str:
        if not any(LEAST <= n <= self._window() for n in self.sizes):
            return f"No number of tokens lies between {LEAST} and {self._window():.3g}."
        return ""

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("tokens", ("norm",), ("exact",), by="ball", log="xy", slopes=(0.5,), title="more tokens"),
            Curves("radius", ("wide",), ("wide_exact",), ("wide_above",), log="y", title=f"{self.wide} tokens"),
        )

    def shrunk(self) -> "JacobianGrowth":
        return dataclasses.replace(self, balls=(4.6, 2.5), sizes=(16, 64), wide=16, radii=(1.0, 3.0))


def _measured(moved: LawMap, k: int, n: int, radius: float) -> float:
    """The norm of the Jacobian for k tokens of n at R, the others at R/2."""
    x = jnp.where(jnp.arange(n) < k, radius, radius / 2)[:, None]
    found = local_lipschitz(moved, x, sweep=10)
    if not found.converged:
        raise pt.Failed(f"the singular value for {n} tokens was not found to its tolerance")
    return float(found.value)


def _groups(share: np.ndarray, radius: float, a: float) -> tuple[np.ndarray, np.ndarray]:
    """For tokens with a share at R: the Jacobian where groups move as one, `[share 2 2]`, and where they do not."""
    share, sites = share[..., None], radius * np.array([1.0, 0.5])
    shares = np.concatenate([share, 1 - share], axis=-1)
    weights = shares[..., None, :] * np.exp(a * sites[:, None] * (sites[None, :] - radius))
    weights /= weights.sum(axis=-1, keepdims=True)
    away = sites - (weights @ sites)[..., None]
    own = a * np.sum(weights * away**2, axis=-1)
    moved = weights * (1 + a * away * sites[:, None]) + own[..., None] * np.eye(2)
    return moved * np.sqrt(shares[..., :, None] / shares[..., None, :]), own


def _exact(k: int, n: int, radius: float, a: float) -> float:
    together, own = _groups(np.asarray(k / n), radius, a)
    apart = own[np.array([k, n - k]) > 1]
    return float(max(np.linalg.norm(together, 2), *apart))


def _best(n: int, radius: float, a: float) -> int:
    """How many tokens at R make the norm largest."""
    together, _ = _groups(np.arange(1, n) / n, radius, a)
    return 1 + int(np.argmax(np.linalg.norm(together, 2, axis=(1, 2))))


def _limit(radius: float, a: float) -> float:
    """The largest norm for any share, which is also one of measures."""
    norm = lambda z: -np.linalg.norm(_groups(np.asarray(np.exp(z)), radius, a)[0], 2)  # noqa: E731
    middle = -a * radius**2 / 4
    return float(-minimize_scalar(norm, bounds=(middle - 3, min(middle + 3, -1e-9)), method="bounded").fun)


def _below(n: int, radius: float, a: float) -> float:
    p = 1 / (1 + (n - 1) * np.exp(-a * radius**2 / 4))
    m = radius * (1 + p) / 2
    return float(np.sqrt(n - 1) * p * (1 + a * (radius - m) * radius / 2))


def _above(n: int, radius: float, a: float) -> float:
    return bounds.euclidean_bound(a, 1.0, radius, n)
