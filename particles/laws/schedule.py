"""Laws whose parameters change with depth: layers that do not share their weights.

A law without a schedule is autonomous, every layer the same. A schedule names a parameter by its path, as a sweep does,
and gives its value at every depth; any parameter of any slot can have one.
"""

import abc
import itertools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..declaration import Declared, all_known, concrete, option, parameter, replaced
from ..summation import AbstractSummation
from .base import AbstractLaw
from .head import AbstractHead, Asked


class AbstractSchedule(Declared):
    """The value of one parameter at every depth.

    Attributes
    ----------
    path : where the parameter stands below the law: `score.beta`, `laws.0.value.matrix`.
    """

    path: eqx.AbstractVar[str]

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""]) -> Float[Array, "..."]:
        """The value at depth t; at a jump, the one to the right."""

    @abc.abstractmethod
    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The first depth after t where the value is not smooth; infinite if there is none."""

    @abc.abstractmethod
    def examples(self) -> Float[Array, "k ..."]:
        """Values that must all be possible."""


Values = Float[Array, " k"] | Float[Array, "k a"] | Float[Array, "k a b"]


class AbstractKnots(AbstractSchedule):
    """A schedule made of values and depths, where the depths are its jumps."""

    values: eqx.AbstractVar[Values]
    depths: eqx.AbstractVar[Float[Array, " _"]]

    @property
    @abc.abstractmethod
    def depths_needed(self) -> int:
        """How many depths belong to these values."""

    def __check_init__(self):
        name, count = type(self).__name__, self.depths.shape[0]
        if count != self.depths_needed:
            raise ValueError(f"{name} of `{self.path}` needs {self.depths_needed} depths for its values; got {count}")
        numbers = concrete(self.depths)
        if numbers is not None and any(b <= a for a, b in itertools.pairwise(numbers)):
            raise ValueError(f"`depths` of {name} must increase; got {numbers}")

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        depths = self.depths.astype(t.dtype)
        return jnp.min(jnp.where(depths > t, depths, jnp.inf), initial=jnp.inf)

    def examples(self) -> Float[Array, "k ..."]:
        return self.values


class Piecewise(AbstractKnots):
    r"""One value after another: layers with weights of their own.

    .. math:: \theta(t) = \theta_k \;\text{for}\; t_k \le t < t_{k+1}, \qquad t_0 = 0

    Parameters
    ----------
    path : of the parameter.
    values : theta_0, theta_1, ...
    depths : t_1, t_2, ..., increasing, one fewer than the values.

    Raises
    ------
    ValueError
        If the depths do not increase from above 0, or are not one fewer than the values.

    Source
    ------
    chen2018neural.
    """

    path: str = option()
    values: Values = parameter()
    depths: Float[Array, " _"] = parameter(gt=0)
    sources: ClassVar[tuple[str, ...]] = ("chen2018neural",)

    @property
    def depths_needed(self) -> int:
        return self.values.shape[0] - 1

    def __call__(self, t: Float[Array, ""]) -> Float[Array, "..."]:
        return self.values[jnp.searchsorted(self.depths, t, side="right")]


class Interpolated(AbstractKnots):
    r"""Straight from one value to the next: a ramp, or layers with all weights between theirs.

    .. math:: \theta(t) = \theta_k + \frac{t - t_k}{t_{k+1} - t_k} (\theta_{k+1} - \theta_k)

    Before the first depth and after the last the value is constant.

    Parameters
    ----------
    path : of the parameter.
    values : theta, one for each depth.
    depths : t, increasing; the first may be 0.

    Raises
    ------
    ValueError
        If the depths do not increase, or are not as many as the values.

    Source
    ------
    chen2018neural.
    """

    path: str = option()
    values: Values = parameter()
    depths: Float[Array, " _"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("chen2018neural",)

    @property
    def depths_needed(self) -> int:
        return self.values.shape[0]

    def __call__(self, t: Float[Array, ""]) -> Float[Array, "..."]:
        flat = self.values.reshape(self.values.shape[0], -1)
        at = jax.vmap(lambda column: jnp.interp(t, self.depths, column), in_axes=1)(flat)
        return at.reshape(self.values.shape[1:])


class Redrawn(AbstractSchedule):
    r"""Drawn afresh after every period, from a seed: layers with random weights.

    .. math:: \theta(t) = \theta_{\lfloor t / p \rfloor}, \qquad \theta_k \sim N(\mu, \sigma^2) \text{ in every entry}

    Parameters
    ----------
    path : of the parameter.
    shape : of the parameter; empty for a number.
    period : p, positive; infinite for one draw, the same at every depth.
    scale : sigma, at least 0.
    mean : mu.
    seed : of the draws.

    Source
    ------
    koubbi2026homogenized.
    """

    path: str = option()
    shape: tuple[int, ...] = option((), ge=1)
    period: Float[Array, ""] = parameter(1.0, gt=0, infinite=True)
    scale: Float[Array, ""] = parameter(1.0, ge=0)
    mean: Float[Array, ""] = parameter(0.0)
    seed: int = option(0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("koubbi2026homogenized",)

    def __call__(self, t: Float[Array, ""]) -> Float[Array, "..."]:
        return self._draw(self._period(t))

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        following = (self._period(t) + 1) * self.period.astype(t.dtype)
        return jnp.where(jnp.isfinite(self.period), following, jnp.inf)

    def examples(self) -> Float[Array, "k ..."]:
        return self._draw(jnp.zeros((), self.mean.dtype))[None]

    def _period(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """How many periods are over; a depth that rounding left just below the end of one is past it."""
        ratio = t / self.period.astype(t.dtype)
        return jnp.floor(ratio * (1 + 8 * jnp.finfo(t.dtype).eps))

    def _draw(self, count: Float[Array, ""]) -> Float[Array, "..."]:
        key = jax.random.fold_in(jax.random.key(self.seed), count.astype(jnp.int32))
        drawn = jax.random.normal(key, self.shape, jnp.float32)  # the same numbers at every precision
        return self.mean + self.scale * drawn.astype(self.mean.dtype)


class Scheduled(AbstractLaw):
    r"""A law with parameters that change with depth.

    .. math:: u_i = u_i(\theta(t), x)

    No step of a solver straddles a depth where a parameter jumps.

    Parameters
    ----------
    law : the law, whose own values of the scheduled parameters do not matter.
    schedules : one for each parameter that changes.

    Raises
    ------
    ValueError
        If a path leads to no parameter, two schedules have the same, or a value is one that the law refuses.

    Source
    ------
    chen2018neural.
    """

    law: AbstractLaw
    schedules: tuple[AbstractSchedule, ...]
    sources: ClassVar[tuple[str, ...]] = ("chen2018neural",)

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        paths = [schedule.path for schedule in self.schedules]
        if not paths or len(set(paths)) < len(paths):
            raise ValueError(f"`schedules` of Scheduled needs one schedule for each of some paths; got {paths}")
        if all_known(self):
            self._examples()

    def _examples(self) -> list[AbstractLaw]:
        """The law with values that must all be possible."""
        each = {schedule.path: schedule.examples() for schedule in self.schedules}
        count = max(values.shape[0] for values in each.values())
        at = lambda k: {path: some[min(k, some.shape[0] - 1)] for path, some in each.items()}  # noqa: E731
        return [replaced(self.law, at(k)) for k in range(count)]

    def at(self, t: Float[Array, ""]) -> AbstractLaw:
        return replaced(self.law, {schedule.path: schedule(t) for schedule in self.schedules}).at(t)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return self.at(t)(t, x, summation)

    def check_tokens(self, n: int, d: int) -> None:
        self.at(jnp.zeros(())).check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)

    @property
    def jumps(self) -> bool:
        return True

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.min(jnp.stack([super().next_jump(t), *(schedule.next_jump(t) for schedule in self.schedules)]))

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        return self.at(t).unsolved(t, x, summation)

    def head_weights(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        return self.at(t).head_weights(t, x, summation)

    def attending(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> tuple[AbstractHead, ...]:
        return self.at(t).attending(t, x, summation)

    def check_asked(self, asked: Asked) -> None:
        for law in self._examples():
            law.check_asked(asked)

    def tilted(self, shift: Float[Array, "h n m"]) -> AbstractLaw:
        self.law.tilted(shift)  # which refuses where there is nothing to add to
        return _TiltedSchedule(self, shift)

    def on_masses(self, p: Float[Array, " m"]) -> AbstractLaw:
        return Scheduled(self.law.on_masses(p), self.schedules)


class _TiltedSchedule(AbstractLaw):
    """A scheduled law with numbers added to the logits of its attention matrices."""

    law: Scheduled
    shift: Float[Array, "h n m"]

    def at(self, t: Float[Array, ""]) -> AbstractLaw:
        return self.law.at(t).tilted(self.shift)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return self.at(t)(t, x, summation)

    def check_tokens(self, n: int, d: int) -> None:
        self.law.check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        return self.at(t).unsolved(t, x, summation)

    def head_weights(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        return self.at(t).head_weights(t, x, summation)

    def attending(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> tuple[AbstractHead, ...]:
        return self.at(t).attending(t, x, summation)
