"""How a flow is summed: which summations serve it, known from shapes, and how exact they are for given tokens."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from ..summation import AbstractPair, AbstractSummation, Gathered
from .base import AbstractFlow


def summations(flow: AbstractFlow, n: int, d: int, dtype: Any) -> tuple[AbstractSummation, ...]:
    """The summations that will gather for a flow of n tokens in dimension d, each once; nothing is computed."""
    found: list[AbstractSummation] = []

    def note(summation: AbstractSummation, *asked: Any) -> None:
        serving = summation.serving(*asked)
        if serving not in found:
            found.append(serving)

    noting = flow.summed(lambda summation: _Noted(summation, note))
    jax.eval_shape(noting.velocity, jnp.zeros((), dtype), jax.ShapeDtypeStruct((n, d), dtype))
    return tuple(found)


def summation_report(flow: AbstractFlow, x: Float[Array, "n d"], t: float = 0.0) -> list[dict[str, Any]]:
    """How exact each gather of a flow's velocity is for given tokens.

    Parameters
    ----------
    flow, x, t : the flow, tokens, and a depth.

    Returns
    -------
    list
        For each gather the `summation` that serves it and, where that is not exact to rounding, the relative `error` of
        a row's mass, the largest of the `modes`, the number of `poor` rows that are summed pair by pair, and whether
        the tolerance is `met`. Gathers inside an inner iteration are left out.
    """
    found: list[dict[str, Any]] = []

    def note(summation: AbstractSummation, *asked: Any) -> None:
        report = summation.report(*asked)
        numbers = {} if report is None else vars(report)
        if not any(isinstance(number, Tracer) for number in numbers.values()):
            facts = {name: np.asarray(number).item() for name, number in numbers.items()}
            found.append({"summation": summation.serving(*asked), **facts})

    noting = flow.summed(lambda summation: _Noted(summation, note))
    noting.velocity(jnp.asarray(t, x.dtype), x)
    return found


class _Noted(AbstractSummation):
    """Does as another summation, and hands every question to a listener."""

    inner: AbstractSummation
    listener: Callable[..., Any] = eqx.field(static=True)

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        self.listener(self.inner, pair, rows, columns, values)
        return self.inner.gather(pair, rows, columns, values)

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return self.inner.chosen(n, m, itemsize)

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        return self.inner.memory(n, m, k, itemsize)
