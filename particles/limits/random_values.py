"""Layers whose value matrices are drawn afresh: the overlap of tokens under uniform attention."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray
from scipy.integrate import solve_ivp

from ..laws import Attention, DotProduct
from ..laws.norm import Post
from ..laws.value import Linear
from ..summation import Dense
from .host import Depths, solved


def overlap(t: Depths, start: float, n: int, d: int) -> np.ndarray:
    r"""The mean overlap of tokens on a simplex under uniform attention with random values, by SciPy.

    .. math:: \dot g = \frac{(1-g)(d-2-g)(1+(n-1)g)}{dn}

    Parameters
    ----------
    t : depths, increasing, at least 0, in units in which sigma^2 d = 1.
    start : the overlap of every pair at depth 0.
    n, d : tokens, ambient dimension.

    Source
    ------
    koubbi2026homogenized; at finite d derived by hand, exact up to the spread of the overlaps, of order 1/d.
    """

    def rate(_: float, g: np.ndarray) -> np.ndarray:
        return (1 - g) * (d - 2 - g) * (1 + (n - 1) * g) / (d * n)

    depths = np.asarray(t, float)
    return solved(solve_ivp(rate, (0, depths[-1]), [start], "DOP853", depths, rtol=1e-11, atol=1e-13)).y[0]


def limit(t: Depths, start: float, n: int) -> np.ndarray:
    """The same as d tends to infinity, in closed form: (1 + (n-1) g) / (1 - g) grows like e^t.

    Source
    ------
    koubbi2026homogenized.
    """
    odds = (1 + (n - 1) * start) / (1 - start) * np.exp(np.asarray(t, float))
    return (odds - 1) / (odds + n - 1)


@eqx.filter_jit
def mean_overlaps(
    x0: Float[Array, "n d"],
    keys: Key[Array, " r"],
    until: float,
    layers: int,
    frames: int,
    *,
    beta: float = 0.0,
    shared: bool = False,
) -> Float[Array, "r frame"]:
    """The mean overlap of tokens behind layers N(x + h V A(x)), with values V of independent entries N(0, 1/d).

    Parameters
    ----------
    x0 : tokens on the unit sphere, before the first layer.
    keys : one for each network.
    until : the depth, layers * h^2.
    layers, frames : the number of layers, a multiple of the number of frames, which are equally spaced.
    beta : of softmax attention.
    shared : whether all layers of a network have the same values.

    Source
    ------
    koubbi2026homogenized.
    """
    n, d = x0.shape
    step, zero = jnp.sqrt(until / layers), jnp.zeros(())

    def network(key: PRNGKeyArray) -> Float[Array, " frame"]:
        def layer(x: Float[Array, "n d"], k: Array) -> tuple[Float[Array, "n d"], None]:
            value = jax.random.normal(jax.random.fold_in(key, 0 if shared else k), (d, d)) / jnp.sqrt(d)
            law = Attention(DotProduct(jnp.asarray(beta, float)), value=Linear(value))
            return Post().layer(zero, step, x, lambda theta: law(zero, theta, Dense())), None

        def frame(x: Float[Array, "n d"], ks: Array) -> tuple[Float[Array, "n d"], Float[Array, ""]]:
            x, _ = jax.lax.scan(layer, x, ks)
            return x, (jnp.sum(jnp.sum(x, axis=0) ** 2) - n) / (n * (n - 1))

        return jax.lax.scan(frame, x0, jnp.arange(layers).reshape(frames, -1))[1]

    return jax.lax.map(network, keys, batch_size=8)
