"""The continuous symmetries of a flow, found from the field itself, and the displacements along which they move tokens.

A rotation or a translation of all tokens together that commutes with the field takes trajectories to trajectories. The
displacement it makes is carried along exactly, so it neither grows nor dies: each independent one is a Lyapunov
exponent of zero, and a zero eigenvalue at every fixed point that it moves.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..dynamics import AbstractFlow
from .carrier import check_tokens_alone
from .token_map import FieldMap

PROBES = 3  # clouds at which a generator must commute with the field
EXACT = 1e-8  # of the size of the derivative, below which it does


class Symmetries(eqx.Module):
    """The rotations and translations of all tokens together that commute with a field.

    Attributes
    ----------
    generators : a basis of them: the matrix A and the vector b of x -> A x + b, side by side.
    displacements : an orthonormal basis of how they move the tokens that were asked about, one row of all coordinates
        each.
    """

    generators: Float[Array, "g d e"]
    displacements: Float[Array, "k c"]

    @property
    def moved(self) -> int:
        """How many independent displacements they make."""
        return self.displacements.shape[0]


def symmetries(flow: AbstractFlow, x: Float[Array, "n d"], t: float = 0.0) -> Symmetries:
    """The continuous symmetries of a flow of tokens at a depth, and what they do to a cloud.

    Rotations, and in flat space translations too, are tried at clouds near the given one; those that commute with the
    field at all of them to eight digits are symmetries.

    Parameters
    ----------
    flow : whose state is its tokens.
    x : tokens.
    t : depth.

    Raises
    ------
    ValueError
        If the state of the flow is more than tokens.

    Cost
    ----
    O(d^2) products of the derivative.

    Source
    ------
    arnold1989mathematical.
    """
    check_tokens_alone(flow, x, "symmetries are looked for")
    field = FieldMap(flow, jnp.asarray(t, x.dtype))
    candidates = _candidates(x.shape[1], translations=not flow.space.constrained)
    rng = np.random.default_rng(0)
    clouds = [x] + [flow.space.project(x + 0.3 * jnp.asarray(rng.normal(size=x.shape), x.dtype)) for _ in range(PROBES)]
    commutators = np.concatenate([_commutators(field, cloud, candidates) for cloud in clouds], axis=1)
    found = _null_space(commutators.T) @ candidates.reshape(len(candidates), -1)
    generators = found.reshape(-1, *candidates.shape[1:])
    moved = np.asarray(_moved(jnp.asarray(generators, x.dtype), x)).reshape(len(generators), x.size)
    return Symmetries(jnp.asarray(generators), jnp.asarray(_row_space(moved)))


def _candidates(d: int, translations: bool) -> np.ndarray:
    """Generators of rotations, and of translations; orthonormal."""
    unit = np.eye(d * (d + 1)).reshape(d, d + 1, d, d + 1)  # the matrix with a one at a place, by place
    rotations = [(unit[a, b] - unit[b, a]) / np.sqrt(2) for a in range(d) for b in range(a)]
    shifts = [unit[a, d] for a in range(d)] if translations else []
    return np.array([*rotations, *shifts]).reshape(-1, d, d + 1)


def _moved(generators: Float[Array, "g d e"], x: Float[Array, "n d"]) -> Float[Array, "g n d"]:
    return jnp.einsum("gab,nb->gna", generators[:, :, :-1], x) + generators[:, None, :, -1]


@eqx.filter_jit
def _products(field: FieldMap, x: Float[Array, "n d"], generators: Float[Array, "g d e"]) -> Float[Array, "g n d"]:
    """How the field changes along each generator, less how the generator turns the field."""
    turned = jnp.einsum("gab,nb->gna", generators[:, :, :-1], field(x))
    return jax.vmap(lambda v: jax.jvp(field, (x,), (v,))[1])(_moved(generators, x)) - turned


def _commutators(field: FieldMap, x: Float[Array, "n d"], generators: np.ndarray) -> np.ndarray:
    if not len(generators):
        return np.zeros((0, x.size))
    products = np.asarray(_products(field, x, jnp.asarray(generators, x.dtype)))
    return products.reshape(len(generators), x.size)


def _null_space(matrix: np.ndarray) -> np.ndarray:
    """An orthonormal basis, as rows, of the vectors that a matrix takes to nothing."""
    _, values, vectors = np.linalg.svd(matrix)
    size = max(float(np.max(values, initial=0.0)), 1.0)
    kept = np.ones(len(vectors), bool)
    kept[: len(values)] = values <= EXACT * size
    return vectors[kept]


def _row_space(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis, as rows, of what rows span."""
    if not len(rows):
        return rows
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > EXACT * max(float(np.max(values, initial=0.0)), 1e-300)]
