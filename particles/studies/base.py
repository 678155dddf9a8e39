"""A question asked of one flow at one start."""

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..declaration import sources_of, summary
from ..dynamics import AbstractFlow
from ..experiment import Check, Verdict
from ..record import Record
from ..simulation import check_name, check_start, shrunk_start
from ..starts import AbstractStart
from ..study import AbstractStudy

if TYPE_CHECKING:
    import xarray


class AbstractFlowStudy(AbstractStudy):
    """An instrument of `analysis` put to a flow and its start: any law, any space.

    A new one has these fields beside its own, a docstring that begins with what it shows, and the methods of a study. A
    variable of its dataset whose name ends in `converged` says which numbers are to be trusted; with one that is not,
    there is no verdict. Where something is proved, `checks` hold what was measured against it; else there is no verdict
    either.
    """

    start: eqx.AbstractVar[AbstractStart]
    flow: eqx.AbstractVar[AbstractFlow]
    name: eqx.AbstractVar[str]
    seed: eqx.AbstractVar[int]

    def __check_init__(self):
        check_name(self.name)
        check_start(self.start, self.flow)

    @property
    def label(self) -> str:
        return self.name

    def first(self) -> Float[Array, "n d"]:
        """The tokens at depth 0.

        Raises
        ------
        ValueError
            If the start does not exist on the space.
        """
        x0 = self.start(self.flow.space, jax.random.key(self.seed)).astype(jnp.float64)
        self.flow.check_tokens(x0)
        return x0

    def key(self, stream: int) -> Any:
        """A key for randomness beside the start: one for each number from 1."""
        return jax.random.fold_in(jax.random.key(self.seed), stream)

    def small(self, **changes: Any) -> Any:
        """The same study with fewer tokens, and other changes."""
        return dataclasses.replace(self, start=shrunk_start(self.start, self.flow.law), **changes)

    def checks(self, data: "xarray.Dataset") -> tuple[Check, ...]:
        return ()

    def verdict(self, record: Record) -> Verdict | None:
        if record.status == "failed":
            return super().verdict(record)
        data = record.dataset
        missed = {str(name): int(np.sum(~data[name].values)) for name in data if str(name).endswith("converged")}
        missed = {name: count for name, count in missed.items() if count}
        if missed:
            words = f"{sum(missed.values())} numbers did not converge: see {', '.join(missed)}."
            return Verdict(summary(type(self)), sources_of(self), not_converged=words)
        return super().verdict(record) if self.outside(data) or self.checks(data) else None
