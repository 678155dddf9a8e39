"""Depth to infinity at a fixed end: networks of ever more, ever thinner layers against the flow."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..analysis import wasserstein
from ..declaration import as_float
from ..dynamics import Layers
from ..integration import Plan, solve

FINEST = 20.0  # of the spacing of numbers: the smallest tolerance that steps can meet
LOOKS = 16  # depths at which network and flow are compared, the end among them


@dataclasses.dataclass(frozen=True)
class Convergence:
    """How far networks of several depths are from the flow.

    Attributes
    ----------
    layers : the numbers of layers.
    displacement : the largest displacement of a token from its place in the flow, over tokens and over the depths
        looked at.
    transport : the largest Wasserstein distance W_1 between the two clouds, over these depths.
    """

    layers: np.ndarray
    displacement: np.ndarray
    transport: np.ndarray

    @property
    def order(self) -> float:
        """Minus the slope of the displacement against the number of layers, on logarithmic axes."""
        return -slope(self.layers, self.displacement)


def converge(
    network: Layers, x0: Float[Array, "n d"], until: float, layers: Sequence[int], tolerance: float = 1e-12
) -> Convergence:
    """Runs weight-shared networks of L layers of step T/L, and the flow that they tend to.

    Parameters
    ----------
    network : the layers; any law, any placement of the normalization, any splitting.
    x0 : tokens before the first layer.
    until : the depth T, which all networks share.
    layers : the numbers L; all are multiples of the first, and of 16 or a divisor of it.
    tolerance : of the flow's steps; no smaller is taken than the numbers of `x0` can tell.

    Raises
    ------
    ValueError
        If the numbers of layers are not multiples of the first.
    Failed
        If a run did not come to its end.

    Cost
    ----
    The sum of all layers, one compilation for all of them.

    Source
    ------
    lu2020understanding, for order 2 of a split layer.
    """
    looks = int(np.gcd.reduce([LOOKS, *layers]))
    if any(count % layers[0] for count in layers):
        raise ValueError(f"`layers` must be multiples of the first; got {list(layers)}")
    end = as_float(until)
    exact = solve(network.limit(), x0, _exactly(end, looks, max(tolerance, FINEST * float(jnp.finfo(x0.dtype).eps))))
    reference = np.asarray(exact.complete().tokens)
    displacement, transport = [], []
    for count in layers:
        plan = Plan(end, save=looks, solver="Layers", dt=end / count, max_steps=max(layers) + LOOKS)
        tokens = np.asarray(solve(network, x0, plan).complete().tokens)
        displacement.append(np.linalg.norm(tokens - reference, axis=-1).max())
        transport.append(max(wasserstein(x, y) for x, y in zip(tokens, reference, strict=True)))
    return Convergence(np.asarray(layers), np.asarray(displacement), np.asarray(transport))


def _exactly(until: Array, looks: int, tolerance: float) -> Plan:
    return Plan(until, save=looks, solver="Dopri8", rtol=as_float(tolerance), atol=as_float(tolerance))


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """The slope of the least-squares line through log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
