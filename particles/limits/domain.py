"""Where a density of tokens lives: an orthonormal basis, and quadrature nodes on which a law is looked at.

A density is taken relative to the uniform law, so the uniform density is 1 and the first coefficient is the mass. The
basis diagonalizes the Laplacian, so diffusion is one number for each mode.
"""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import eval_gegenbauer, roots_chebyt, roots_gegenbauer, roots_legendre

from ..declaration import Declared, option

LEAST_NODES = 2.5  # nodes for a mode: products of density and velocity are then integrated without aliasing


class AbstractDomain(Declared):
    """A family of densities on a sphere, with the nodes on which their quadrature rests; all worked out on the host."""

    modes: eqx.AbstractVar[int]
    nodes: eqx.AbstractVar[int]

    def __check_init__(self):
        least = int(np.ceil(LEAST_NODES * self.modes))
        if self.nodes < least:
            raise ValueError(f"{self.modes} modes need at least {least} nodes; got {self.nodes}")

    @property
    @abc.abstractmethod
    def components(self) -> int:
        """Basis functions for each mode."""

    @abc.abstractmethod
    def rows(self) -> Float[np.ndarray, "a d"]:
        """The points at which the velocity is needed."""

    @abc.abstractmethod
    def columns(self) -> Float[np.ndarray, "b d"]:
        """The points at which tokens stand."""

    @abc.abstractmethod
    def weights(self) -> Float[np.ndarray, " a"]:
        """The uniform law's mass of each row; the sum is 1."""

    @abc.abstractmethod
    def spread(self, mass: Float[Array, " a"]) -> Float[Array, " b"]:
        """The mass of each row shared among the columns that it stands for."""

    @abc.abstractmethod
    def speed(self, velocity: Float[Array, "a d"]) -> Float[Array, " a"]:
        """The velocity of each row, tangent to the sphere, along the coordinate that the basis depends on."""

    @abc.abstractmethod
    def basis(self) -> Float[np.ndarray, "a k c"]:
        """The basis functions at the rows."""

    @abc.abstractmethod
    def slopes(self) -> Float[np.ndarray, "a k c"]:
        """Their derivatives along that coordinate."""

    @abc.abstractmethod
    def eigenvalues(self) -> Float[np.ndarray, " k"]:
        """Of minus the Laplacian, for each mode."""

    @property
    @abc.abstractmethod
    def together(self) -> bool:
        """Whether rows and columns are the same points."""

    @abc.abstractmethod
    def coordinate(self) -> Float[np.ndarray, " a"]:
        """The coordinate of each row: an angle, or a height."""

    def density(self, coefficients: Float[Array, "k c"]) -> Float[Array, " a"]:
        """The density at the rows, relative to the uniform law."""
        return jnp.einsum("akc,kc->a", jnp.asarray(self.basis(), coefficients.dtype), coefficients)

    def coefficients(self, density: Callable[[np.ndarray], np.ndarray]) -> Float[Array, "k c"]:
        """The coefficients of a density given as a function of the coordinate, brought to mass 1.

        Raises
        ------
        ValueError
            If it has no positive mass.
        """
        values = np.asarray(density(self.coordinate()), float) * self.weights()
        if not values.sum() > 0:
            raise ValueError(f"a density has a positive mass; this one has {values.sum():g}")
        return jnp.einsum("akc,a->kc", self.basis(), jnp.asarray(values / values.sum()))


class Circle(AbstractDomain):
    r"""Densities on the circle, in Fourier modes.

    .. math:: \rho(\theta) = c_0 + \sqrt 2 \sum_k (c_{k1} \cos k\theta + c_{k2} \sin k\theta)

    Parameters
    ----------
    modes : how many, the mass among them.
    nodes : points on the circle; at least 2.5 for each mode.

    Raises
    ------
    ValueError
        For fewer nodes.

    Source
    ------
    boyd2001chebyshev.
    """

    modes: int = option(64, ge=2)
    nodes: int = option(192, ge=4)
    sources: ClassVar[tuple[str, ...]] = ("boyd2001chebyshev",)

    @property
    def components(self) -> int:
        return 2

    @property
    def together(self) -> bool:
        return True

    def coordinate(self) -> Float[np.ndarray, " a"]:
        return 2 * np.pi * np.arange(self.nodes, dtype=float) / self.nodes

    def rows(self) -> Float[np.ndarray, "a d"]:
        return np.stack([np.cos(self.coordinate()), np.sin(self.coordinate())], axis=1)

    def columns(self) -> Float[np.ndarray, "b d"]:
        return self.rows()

    def weights(self) -> Float[np.ndarray, " a"]:
        return np.full(self.nodes, 1 / self.nodes)

    def spread(self, mass: Float[Array, " a"]) -> Float[Array, " b"]:
        return mass

    def speed(self, velocity: Float[Array, "a d"]) -> Float[Array, " a"]:
        x = jnp.asarray(self.rows(), velocity.dtype)
        return x[:, 0] * velocity[:, 1] - x[:, 1] * velocity[:, 0]

    def basis(self) -> Float[np.ndarray, "a k c"]:
        phase = self._phase()
        waves = np.sqrt(2.0) * np.stack([np.cos(phase), np.sin(phase)], axis=-1)
        waves[:, 0, 0] = 1.0
        return waves

    def slopes(self) -> Float[np.ndarray, "a k c"]:
        phase, order = self._phase(), self._order()[None, :]
        return np.sqrt(2.0) * np.stack([-order * np.sin(phase), order * np.cos(phase)], axis=-1)

    def eigenvalues(self) -> Float[np.ndarray, " k"]:
        return self._order() ** 2

    def _order(self) -> Float[np.ndarray, " k"]:
        return np.arange(self.modes, dtype=float)

    def _phase(self) -> Float[np.ndarray, "a k"]:
        return self.coordinate()[:, None] * self._order()[None, :]


class Zonal(AbstractDomain):
    r"""Densities on the sphere that depend on the height z along one axis alone, in Gegenbauer polynomials.

    .. math:: \rho(x) = \sum_k c_k \hat C_k(z), \qquad z = \langle x, e_1\rangle

    Tokens of one height stand on a circle around the axis in three dimensions, weighted as in dimension d, which is all
    that a law sees that knows tokens by their inner products and by the axis.

    Parameters
    ----------
    dim : ambient dimension d.
    modes : how many, the mass among them.
    nodes : heights; at least 2.5 for each mode.
    around : points of one height, on a half circle.

    Raises
    ------
    ValueError
        For fewer nodes.

    Source
    ------
    boyd2001chebyshev; zonal flows, geshkovski2023perspective.
    """

    dim: int = option(3, ge=3)
    modes: int = option(24, ge=2)
    nodes: int = option(64, ge=4)
    around: int = option(32, ge=2)
    sources: ClassVar[tuple[str, ...]] = ("boyd2001chebyshev", "geshkovski2023perspective")

    @property
    def components(self) -> int:
        return 1

    @property
    def together(self) -> bool:
        return False

    def coordinate(self) -> Float[np.ndarray, " a"]:
        return self._heights()[0]

    def rows(self) -> Float[np.ndarray, "a d"]:
        z = self.coordinate()
        return np.stack([z, np.sqrt(1 - z**2), np.zeros_like(z)], axis=1)

    def columns(self) -> Float[np.ndarray, "b d"]:
        z, (cosine, _) = self.coordinate()[:, None, None], self._transverse()
        side = np.array([1.0, -1.0])[None, None, :] * np.sqrt(1 - cosine**2)[None, :, None]
        radius = np.sqrt(1 - z**2)
        parts = np.broadcast_arrays(z, radius * cosine[None, :, None], radius * side)
        return np.stack(parts, axis=-1).reshape(-1, 3)

    def weights(self) -> Float[np.ndarray, " a"]:
        return self._heights()[1]

    def spread(self, mass: Float[Array, " a"]) -> Float[Array, " b"]:
        share = jnp.asarray(self._transverse()[1], mass.dtype) / 2
        return jnp.broadcast_to(mass[:, None, None] * share[None, :, None], (self.nodes, self.around, 2)).reshape(-1)

    def speed(self, velocity: Float[Array, "a d"]) -> Float[Array, " a"]:
        return velocity[:, 0]

    def basis(self) -> Float[np.ndarray, "a k c"]:
        return self._polynomials(0)[:, :, None]

    def slopes(self) -> Float[np.ndarray, "a k c"]:
        return self._polynomials(1)[:, :, None]

    def eigenvalues(self) -> Float[np.ndarray, " k"]:
        order = np.arange(self.modes, dtype=float)
        return order * (order + self.dim - 2)

    def _heights(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights of the law of one coordinate of a uniform token."""
        return _normalized(roots_gegenbauer(self.nodes, (self.dim - 2) / 2))

    def _transverse(self) -> tuple[np.ndarray, np.ndarray]:
        """The same, one dimension lower: of the cosine between two directions around the axis."""
        if self.dim == 3:
            return _normalized(roots_chebyt(self.around))
        if self.dim == 4:
            return _normalized(roots_legendre(self.around))
        return _normalized(roots_gegenbauer(self.around, (self.dim - 3) / 2))

    def _polynomials(self, derivative: int) -> np.ndarray:
        alpha, (z, weights) = (self.dim - 2) / 2, self._heights()
        columns = []
        for k in range(self.modes):
            norm = np.sqrt(np.sum(weights * eval_gegenbauer(k, alpha, z) ** 2))
            if derivative == 0:
                columns.append(eval_gegenbauer(k, alpha, z) / norm)
            else:  # d C_k^a / dz = 2 a C_{k-1}^{a+1}
                columns.append(2 * alpha * eval_gegenbauer(k - 1, alpha + 1, z) / norm if k else np.zeros_like(z))
        return np.stack(columns, axis=1)


def _normalized(rule: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rule[0], rule[1] / rule[1].sum()
