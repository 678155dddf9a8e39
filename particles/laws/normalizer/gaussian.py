"""What a normalizer is told of infinitely many Gaussian columns, and of the score by which a row sees them."""

import equinox as eqx
from jaxtyping import Array, Float


class Moments(eqx.Module):
    """Gaussian tokens, infinitely many."""

    mean: Float[Array, " d"]
    covariance: Float[Array, "d d"]


class Quadratic(eqx.Module):
    r"""The score y^T A x + y^T H y / 2 + g^T y of a row x and a column y; what depends on x alone is left out.

    Attributes
    ----------
    form, own, tilt : A, H and g.
    """

    form: Float[Array, "d d"]
    own: Float[Array, "d d"]
    tilt: Float[Array, " d"]


class AffineField(eqx.Module):
    """A field that is affine in where a token is, b + M x.

    Attributes
    ----------
    offset, slope : b and M.
    """

    offset: Float[Array, " d"]
    slope: Float[Array, "d d"]
