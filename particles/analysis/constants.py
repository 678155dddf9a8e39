r"""By how much attention can stretch distances: proved constants as formulas of a few numbers.

A displacement xi of the tokens moves the image of token i by three terms: the values of the others move, the token
looks in another direction, and it sees the scores of the others change,

    sum_j P_ij V xi_j  +  V Cov_i A xi_i  +  V sum_j P_ij (x_j - m_i) <A x_i, xi_j>,

with the weights P, and the mean m_i and the covariance Cov_i of what it sees. Each constant is a norm of these terms,
and norms differ in the first and the last: how much of all attention can one token draw? In the largest displacement of
a token that does not matter; in W_1 it is an exponential of the logits, as long as there are tokens enough.
"""

import math

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import lambertw

Number = int | float


def query_bound(slope: Number, value: Number, radius: Number) -> float:
    r"""A Lipschitz constant of where a token goes in where it is, among others that stand still.

    .. math:: \|D_x \Gamma_\mu(x)\| = \|V \operatorname{Cov} A\| \le v a R^2

    Parameters
    ----------
    slope : a, the operator norm of the matrix of the logits <y, A x>, inverse temperature and scale included.
    value : v, the operator norm of the value matrix.
    radius : R, of the ball that holds the tokens; half their diameter will do in its place.

    Source
    ------
    vuckovic2021regularity, for the property; the constant derived by hand.
    """
    return float(value * slope * radius**2)


def measure_bound(slope: Number, value: Number, radius: Number) -> float:
    r"""A Lipschitz constant of where a token goes in the measure that it sees, in W_1.

    .. math:: |\Gamma_\mu(x) - \Gamma_\nu(x)| \le v (1 + 2 a R^2) e^{2 a R^2} W_1(\mu, \nu)

    Parameters
    ----------
    slope, value, radius : as `query_bound`.

    Source
    ------
    vuckovic2021regularity, for the property; the constant derived by hand.
    """
    s = slope * radius**2
    return float(value * (1 + 2 * s) * np.exp(2 * s))


def transport_bound(slope: Number, value: Number, radius: Number, p: Number = 1.0, n: Number = math.inf) -> float:
    r"""A Lipschitz constant of softmax attention mu -> mu A_mu in a Wasserstein distance, on a ball.

    .. math:: v \big(s + (1 + k s) c^{1/p}\big), \qquad s = a R^2, \qquad c = \frac{n}{1 + (n - 1) e^{-2 s}}
              \le e^{2 s}, \qquad k = 2^{\max(2/p - 1, 0)}

    c is the most attention that one of n tokens can draw from all. In W_1 and for infinitely many tokens the constant
    is v (s + (1 + 2 s) e^(2 s)), which serves for every p; W_2 has half the exponent, and p = inf none. It is at most
    the published v (1 + 3 s) e^(2 s).

    Parameters
    ----------
    slope, value, radius : as `query_bound`.
    p : of the distance, at least 1.
    n : how many tokens the clouds have; infinite for measures.

    Raises
    ------
    ValueError
        If p is below 1.

    Source
    ------
    vuckovic2021regularity, for the property; castin2024smooth, for the published constant; this one derived by hand.
    """
    s = slope * radius**2
    return ball_bound(value, s, s, largest_share(2 * s, n), p)


def displacement_bound(slope: Number, value: Number, radius: Number) -> float:
    r"""The same for tokens that keep their labels, in the largest displacement of a token: there is no exponential.

    .. math:: v (1 + 2 a R^2)

    It holds under any mask and for any masses, since the weights of a row are a probability whatever they are.

    Parameters
    ----------
    slope, value, radius : as `query_bound`.

    Source
    ------
    Derived by hand.
    """
    return transport_bound(slope, value, radius, p=math.inf)


def euclidean_bound(slope: Number, value: Number, radius: Number, n: int) -> float:
    r"""The same in the Euclidean norm of n tokens with labels: like sqrt(n) for few tokens, then constant.

    .. math:: v \big(s + (1 + s) \sqrt c\big) \le \sqrt3\, v \big(s^2 (n + 1) + n\big)^{1/2},
              \qquad s = a R^2, \qquad c = \frac{n}{1 + (n - 1) e^{-2 s}}

    Parameters
    ----------
    slope, value, radius : as `query_bound`.
    n : how many tokens there are.

    Source
    ------
    castin2024smooth, for the property and the form on the right; the constant derived by hand.
    """
    return transport_bound(slope, value, radius, 2.0, n)


def potential_bound(
    value: Number, diameter: Number, lowest: Number, highest: Number, steepest: Number, mixed: Number
) -> float:
    r"""A Lipschitz constant of attention with any interaction potential G, in every Wasserstein distance.

    .. math:: v \Big(\frac{l_x D^2}{4} + \frac{g_+ + l D}{g_-}\Big)

    Parameters
    ----------
    value : v, the operator norm of the value matrix.
    diameter : D, of the set that holds the tokens.
    lowest, highest : g_- and g_+, between which G(x, y) lies.
    steepest : l, a Lipschitz constant of G in the key.
    mixed : l_x, a Lipschitz constant in the key of the gradient of log G in the query.

    Source
    ------
    vuckovic2021regularity, for the property; the constant derived by hand.
    """
    return float(value * (mixed * diameter**2 / 4 + (highest + steepest * diameter) / lowest))


def sphere_bound(slope: Number, value: Number, radius: Number = 1.0) -> float:
    r"""A Lipschitz constant of the field of attention on a sphere, in the largest displacement of a token.

    .. math:: v (2 + 2 a R^2)

    That of the law and one v more, for the tangent plane that turns under the token. With V = I and the unit sphere it
    is 2 + 2 beta, so two clouds part in W_inf at most like e^((2 + 2 beta) t).

    Parameters
    ----------
    slope, value : as `query_bound`.
    radius : R, of the sphere.

    Source
    ------
    vuckovic2021regularity, for the topic; derived by hand.
    """
    return displacement_bound(slope, value, radius) + float(value)


def mean_distance(odds: ArrayLike) -> float:
    r"""The largest mean of D_j under weights like e^(-D_j), where one D is 0: what a row of L2 attention can see.

    .. math:: \sup_{D \ge 0} \frac{\sum_j r_j D_j e^{-D_j}}{1 + \sum_j r_j e^{-D_j}} = \phi, \qquad
              \phi e^{\phi + 1} = \sum_j r_j, \qquad \phi = W_0(\textstyle\sum_j r_j / e)

    It is attained where every D_j is 1 + phi. W_0 is Lambert's function.

    Parameters
    ----------
    odds : the sum of the r_j: how much the others weigh where the row itself weighs 1; n - 1 for n tokens.

    Source
    ------
    kim2021lipschitz.
    """
    return float(lambertw(np.asarray(odds, float) / math.e).real)


def distance_bound(value: Number, through: Number, n: int) -> float:
    r"""A Lipschitz constant of L2 attention in the largest displacement of a token, on all of R^{n x d}.

    .. math:: \|V\| + 4 \phi \|U\| \|W\|, \qquad \phi = W_0((n-1)/e) \sim \ln n

    for scores -\|W(x - y)\|^2 and values V = U W: they factor through what the score sees, and queries and keys are
    tied. A mask makes it no larger as long as every token sees itself.

    Parameters
    ----------
    value : the operator norm of V.
    through : the product of the operator norms of U and W; 1 for V = I and W a multiple of the identity.
    n : how many tokens there are.

    Source
    ------
    kim2021lipschitz, for the property; the constant derived by hand.
    """
    return float(value + 4 * mean_distance(n - 1) * through)


def distance_euclidean_bound(value: Number, through: Number, n: int) -> float:
    r"""The same in the Euclidean norm of all tokens: like sqrt(n ln n).

    .. math:: \|V\| \sqrt{\tfrac{n+1}{2}} + 2 \|U\| \|W\| \big(\phi + \sqrt{\phi \phi_2 (n-1)}\big), \qquad
              \phi = W_0((n-1)/e), \quad \phi_2 = W_0(1/e)

    No token draws more than half of the attention of another, which sees itself.

    Parameters
    ----------
    value, through, n : as `distance_bound`.

    Source
    ------
    kim2021lipschitz, for the property; the constant derived by hand.
    """
    return distances_bound(value, through, np.ones((n, n)), 2.0)


def multihead_entry_bound(
    query: Float[np.ndarray, "h d k"], value: Float[np.ndarray, "h d k"], output: Float[np.ndarray, "hk d"], n: int
) -> float:
    r"""The published constant of L2 attention with several heads, in the largest entry of all tokens.

    .. math:: \Big(4 \phi + \frac1{\sqrt k}\Big) \|W^{O T}\|_\infty \max_h \|W^h\|_\infty \|W^{h T}\|_\infty
              \max_h \|W^{V, h T}\|_\infty, \qquad \phi = W_0((n-1)/e)

    for the head P X A W^V with P ~ exp(-|(x_i - x_j) W|^2 / sqrt(k)), A = W W^T / sqrt(k), and tokens as rows.

    Parameters
    ----------
    query, value : W^h and W^{V,h} of every head.
    output : W^O, of all heads, one below the other.
    n : how many tokens there are.

    Source
    ------
    kim2021lipschitz; derived again by hand.
    """
    sums = lambda matrix: np.linalg.norm(matrix, np.inf)  # noqa: E731
    widest = max(sums(one) * sums(one.T) for one in query) * max(sums(one.T) for one in value)
    factor = 4 * mean_distance(n - 1) + query.shape[2] ** -0.5
    return float(factor * sums(output.T) * widest)


def multihead_euclidean_bound(
    query: Float[np.ndarray, "h d k"], value: Float[np.ndarray, "h d k"], output: Float[np.ndarray, "hk d"], n: int
) -> float:
    r"""The published constant of L2 attention with several heads, in the Euclidean norm of all tokens.

    .. math:: \sqrt{\frac nk}\, (4 \phi + 1) \Big(\sum_h \|W^h\|^4 \|W^{V,h}\|^2\Big)^{1/2} \|W^O\|

    The paper's statement is quoted with \|W^h\|^2 in the sum. The head is of second order in W^h, so there is a fourth
    power.

    Parameters
    ----------
    query, value, output, n : as `multihead_entry_bound`.

    Source
    ------
    kim2021lipschitz; derived again by hand.
    """
    heads = [operator_norm(w) ** 2 * operator_norm(v) for w, v in zip(query, value, strict=True)]
    factor = math.sqrt(n / query.shape[2]) * (4 * mean_distance(n - 1) + 1)
    return float(factor * math.hypot(*heads) * operator_norm(output))


def ball_bound(value: Number, curved: Number, steep: Number, share: Number, p: Number) -> float:
    r"""A Lipschitz constant of softmax attention with any smooth score, on a ball, in sums of p-th powers over tokens.

    .. math:: v \big(l R^2 + (1 + k g R) c^{1/p}\big), \qquad k = 2^{\max(2/p - 1, 0)}

    Parameters
    ----------
    value : v, the operator norm of the value matrix.
    curved : l R^2, with l a Lipschitz constant in the query of the score's gradient in the key.
    steep : g R, with g the largest gradient of the score in the key.
    share : c, the most attention that one token can draw from all others together.
    p : at least 1; infinite for the largest displacement of a token.

    Raises
    ------
    ValueError
        If p is below 1.

    Source
    ------
    Derived by hand.
    """
    if not p >= 1:
        raise ValueError(f"`p` must be at least 1; got {p}")
    return float(value * (curved + (1 + 2.0 ** max(2 / p - 1, 0) * steep) * share ** (1 / p)))


def largest_share(spread: Number, n: Number) -> float:
    r"""The most attention that one of n tokens can draw from all rows together, c = n / (1 + (n - 1) e^(-spread)).

    Parameters
    ----------
    spread : by how much the scores of one row can differ.
    n : how many tokens there are; infinite for measures.

    Source
    ------
    Derived by hand.
    """
    return math.exp(spread) if math.isinf(n) else n / (1 + (n - 1) * math.exp(-spread))


def distances_bound(value: Number, through: Number, odds: np.ndarray, p: Number) -> float:
    r"""The constants of L2 attention for any fixed measure by which every token sees itself, for p = 2 or infinity.

    Parameters
    ----------
    value, through : as `distance_bound`.
    odds : how much each token weighs in each row, `[n n]`, where the row itself weighs 1; 0 where it is not seen.
    p : of the sum over tokens.

    Source
    ------
    Derived by hand.
    """
    others = odds - np.diag(np.diagonal(odds))
    phi = mean_distance(np.max(others.sum(axis=1)))
    if math.isinf(p):
        return float(value + 4 * phi * through)
    share = np.max(1 + np.sum(others / (1 + others), axis=0))
    drawn = np.max(np.sum(lambertw(others / math.e).real, axis=0))
    return float(value * math.sqrt(share) + 2 * through * (phi + math.sqrt(phi * drawn)))


def operator_norm(matrix: np.ndarray) -> float:
    """The largest singular value; 0 of a matrix without rows or columns."""
    return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0
