"""What becomes of small displacements from a fixed point: the eigenvalues of the field there."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from ..dynamics import AbstractFlow
from .symmetry import symmetries
from .variational import raveled, tangent_basis, unraveled


class Stability(eqx.Module):
    """The linearization of a flow at some tokens.

    Attributes
    ----------
    eigenvalues : on the tangent space, the one with the largest real part first.
    residual : the largest coordinate of the velocity, which is 0 at a fixed point.
    converged : whether the residual is below the tolerance; if not, this is no fixed point.
    zeros : how many eigenvalues are zero to within the square root of the tolerance.
    expected_zeros : how many must be, because the symmetries of the flow move the tokens along a set of fixed points.
    unstable : how many have a positive real part.
    """

    eigenvalues: Complex[Array, " k"]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]
    zeros: int
    expected_zeros: int
    unstable: int

    @property
    def stable(self) -> bool:
        """Whether every displacement dies out but those along the symmetries."""
        return bool(self.converged) and not self.unstable and self.zeros == self.expected_zeros


def stability(flow: AbstractFlow, x: Float[Array, "n d"], t: float = 0.0, *, tolerance: float = 1e-8) -> Stability:
    """Eigenvalues of a flow at a fixed point, zero ones of its symmetries accounted for.

    Parameters
    ----------
    flow : without noise.
    x : tokens; a fixed point, such as the end of a long run.
    t : depth, for a law that depends on it.
    tolerance : of the velocity.

    Raises
    ------
    ValueError
        If the space has a boundary.

    Cost
    ----
    O((n d)^3); the derivative is formed.

    Source
    ------
    strogatz2015nonlinear.
    """
    depth, state = jnp.asarray(t, x.dtype), flow.begin(x, None)
    basis = tangent_basis(flow, state)
    eigenvalues = np.linalg.eigvals(np.asarray(_derivative(flow, depth, state, basis)))
    eigenvalues = eigenvalues[np.argsort(-eigenvalues.real, kind="stable")]
    residual = jnp.max(jnp.abs(raveled(flow(depth, state))))
    small = np.sqrt(tolerance)
    return Stability(
        eigenvalues=jnp.asarray(eigenvalues, complex),
        residual=residual,
        converged=residual <= tolerance,
        zeros=int(np.sum(np.abs(eigenvalues) <= small)),
        expected_zeros=symmetries(flow, x, t).moved,
        unstable=int(np.sum(eigenvalues.real > small)),
    )


@eqx.filter_jit
def _derivative(
    flow: AbstractFlow, t: Float[Array, ""], state: Float[Array, "n d"], basis: Float[Array, "k c"]
) -> Float[Array, "k k"]:
    """The derivative of the field in coordinates of the tangent space."""
    product = lambda v: raveled(jax.jvp(lambda s: flow(t, s), (state,), (unraveled(v, state),))[1])  # noqa: E731
    return (jax.vmap(product)(basis) @ basis.T).T
