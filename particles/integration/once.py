"""What a program asks for in many places and Python runs through once."""

from typing import Any

import equinox as eqx


class Once(eqx.Module):
    """A function that is traced once for all the places of a program that call it alike.

    A solver looks at its field in its first step, in every other, and in each of the loops that it is built of; what is
    kept of a state is looked at wherever frames are written. A law with an inner iteration is dear to trace: with
    Sinkhorn's normalizer this takes two fifths off the tracing of a solve.
    """

    function: Any

    @eqx.filter_jit
    def __call__(self, *args: Any) -> Any:
        return self.function(*args)
