"""How far apart two clouds of tokens are as measures: Wasserstein distances, of any masses, on any space.

`wasserstein` is a number, exact or refused. `optimal_transport` is all that is known: the plan, the prices that prove
that no other plan is cheaper, and between which bounds the distance lies. On the line and on the circle mass keeps its
order and quantile functions are all there is to know; elsewhere few tokens are a linear program, and many are blurred,
with a proof of how little that matters.
"""

from .distance import optimal_transport as optimal_transport
from .distance import transport_to_density as transport_to_density
from .distance import wasserstein as wasserstein
from .result import Transport as Transport
