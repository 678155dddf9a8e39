"""A named number of a state, watched while a flow is solved.

An observable is declared once, its name, symbol, unit, extra dimensions and source beside the function itself; what is
saved, how the axis of a figure is labeled and what stands in the attributes of a record all follow from that.
"""

import abc
from typing import ClassVar

from jaxtyping import Array, Float, PyTree

from ..declaration import Declared, family, nearest
from ..dynamics import AbstractFlow


class AbstractObservable(Declared):
    """A function of a state, given the flow that moves it.

    A new one declares its `name`, its `symbol` in mathtext, its `unit`, the `dims` of a value (of `token`, `dim`,
    `head`, and `key`, a token that is attended to), whether it is `positive` by definition, so that a logarithmic axis
    makes sense (one for which that depends on the flow says so in `positive_in`), and whether it is `pairwise`, looking
    at `ROWS` rows of pairs at a time, which the estimate of memory must know. It is `of_measure` if tokens that are at
    one place may be one token for it, with their masses added, which must then be seen in the law alone.
    """

    name: ClassVar[str]
    symbol: ClassVar[str]
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[bool] = False
    pairwise: ClassVar[bool] = False
    of_measure: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "..."]:
        """The value at depth t, with one axis for each of `dims`."""

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Float[Array, "..."]:
        """The value in a state of the flow: that of its tokens, unless the observable looks at more."""
        return self(flow, t, flow.tokens(state))

    def positive_in(self, flow: AbstractFlow) -> bool:
        """Whether the value is never negative along this flow."""
        return self.positive

    def check_flow(self, flow: AbstractFlow) -> None:
        """Raises ValueError if the observable is not defined for this flow."""


def observable(given: AbstractObservable | str) -> AbstractObservable:
    """The observable of that name with its default parameters; one that is given already is returned.

    Raises
    ------
    ValueError
        For a name that no observable has.
    """
    if isinstance(given, AbstractObservable):
        return given
    known = {cls.name: cls for cls in family(AbstractObservable).values()}
    if given not in known:
        raise ValueError(
            f"no observable is called {given!r}; there are {sorted(known)}.{nearest(given, known)} Those of "
            "`particles.analysis` and `particles.limits` have their names once that is imported"
        )
    return known[given]()
