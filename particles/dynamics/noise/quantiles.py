r"""Logarithms of quantiles at a normal variable: from a standard normal z to the variable of another law at its rank.

Both tails are exact where :math:`\Phi(z)` has long been 0 or 1: below the median :math:`\log\Phi(z)` is inverted, above
it :math:`\log\Phi(-z)`. JAX's own `log_ndtr` has errors of 4e-9 in its asymptotic range, so that is not used before
the numbers end.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammainc, gammaincc, gammaln
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

NEWTON = 60  # steps at most; five to ten are usual
ALMOST = -2.0  # below this logarithm the lower bound is almost the root
FAR = 5.0  # from here on -log(Phi) is computed from the other tail
SMALL = 1e-7  # below this the power series of the incomplete gamma function is its first term


def log_normal(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """The logarithm of Phi(z), to rounding in both tails."""
    half = lambda u: jax.lax.erfc(u / jnp.sqrt(2.0).astype(z.dtype)) / 2  # noqa: E731
    end = -jnp.sqrt(-1.9 * jnp.log(jnp.finfo(z.dtype).tiny))  # where half underflows
    middle, upper = jnp.clip(z, end, 0), jnp.maximum(z, 0)
    return jnp.where(z > 0, jnp.log1p(-half(upper)), jnp.where(z > end, jnp.log(half(-middle)), norm.logcdf(z)))


def log_exponential(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """The logarithm of the exponential variable E = -log Phi(z): large where z is small."""
    far = z > FAR
    tail = log_normal(-jnp.where(far, z, FAR))
    q = jnp.exp(tail)
    return jnp.where(far, tail + jnp.log1p(q / 2 + q**2 / 3), jnp.log(-log_normal(jnp.where(far, FAR, z))))


@jax.custom_jvp
def log_gamma(shape: Float[Array, "..."], z: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""The logarithm y of the variable of a gamma law of that shape and scale 1 at the rank of z.

    Newton's iteration for the logarithm of the tail that z is in, as a function of y. Both tails are logarithmically
    concave in y, so the iteration never turns back once it is on the far side of the root; it starts between the
    bounds :math:`P(a, x) \\le x^a / \\Gamma(a+1)` and :math:`Q(a, a + \\sqrt{2aL} + L) \\le e^{-L}`.
    """
    below = z < 0
    target = log_normal(-jnp.abs(z))
    least = (log_normal(z) + gammaln(shape + 1)) / shape
    length = jnp.where(below, jnp.log(2.0).astype(z.dtype), -target)
    most = jnp.maximum(jnp.log(shape + jnp.sqrt(2 * shape * length) + length), least)
    third = 1 - 1 / (9 * shape) + z / (3 * jnp.sqrt(shape))  # Wilson and Hilferty
    near = jnp.log(shape) + 3 * jnp.log(jnp.where(third > 0, third, 1))
    edge = jnp.where(below | (least < ALMOST), least, most)
    first = jnp.where((shape > 1) & (third > 0), jnp.clip(near, least, most), edge)

    def step(carry):
        y, _, k = carry
        value, slope = _log_tail(shape, y, below)
        moved = jnp.clip(y - (value - target) / slope, least, most)
        close = jnp.sqrt(jnp.finfo(z.dtype).eps) * jnp.maximum(1, jnp.abs(y))  # what follows is its square
        return moved, jnp.any(jnp.abs(moved - y) > close), k + 1

    found, _, _ = jax.lax.while_loop(lambda c: c[1] & (c[2] < NEWTON), step, (first, jnp.asarray(True), 0))
    return found


def _log_tail(
    shape: Float[Array, "..."], y: Float[Array, "..."], below: Bool[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The logarithm of the lower or upper tail at x = e^y, and its derivative in y."""
    x = jnp.exp(y)
    log_density = shape * y - x - gammaln(shape)
    lower, upper = gammainc(shape, x), gammaincc(shape, x)
    tiny = jnp.finfo(x.dtype).tiny
    series = log_density - jnp.log(shape) - jnp.log1p(-jnp.minimum(x / (shape + 1), 0.5))
    log_lower = jnp.where(lower > tiny, jnp.log(jnp.maximum(lower, tiny)), series)
    log_upper = jnp.where(upper > tiny, jnp.log(jnp.maximum(upper, tiny)), log_density - y)
    value = jnp.where(below, log_lower, log_upper)
    return value, jnp.where(below, 1, -1) * jnp.exp(log_density - value)


@log_gamma.defjvp
def _log_gamma_jvp(primals, tangents):
    (shape, z), (shape_dot, z_dot) = primals, tangents
    y = log_gamma(shape, z)
    x = jnp.exp(y)
    small = x < SMALL
    safe = jnp.where(small, 1, x)
    slope = jax.lax.random_gamma_grad(shape, safe)  # pyright: ignore[reportCallIssue]
    by_shape = jnp.where(small, (digamma(shape + 1) - y) / shape, slope / safe)
    by_z = jnp.exp(norm.logpdf(z) - (shape * y - x - gammaln(shape)))
    return y, by_shape * shape_dot + by_z * z_dot
