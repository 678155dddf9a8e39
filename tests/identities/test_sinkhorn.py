"""Sinkhorn's weights against an implementation in NumPy, their gauge, their energy and their derivatives.

Scaling of rows and columns with unequal marginals and relaxed columns is that of 1607.05816; as attention, 2110.11773.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ALGEBRAIC, CONTROL, DENSE, ZERO, field, off, pair_weights, softmax, weights
from samples import DENSITIES, MASSES, MATRIX, N, tokens
from scipy.optimize import root
from scipy.special import logsumexp

import particles as pt

X = tokens()
SYMMETRIC = np.array([[1.0, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 0.8]])
BETA = 3.0
SCORES = BETA * np.asarray(X) @ MATRIX @ np.asarray(X).T


def scaled(scores, a, b, rho, half_steps=None, density=1.0):
    """Alternate row and column steps in log space, rows first and last; or a fixed number of half steps."""
    log = scores + np.log(density)
    kappa = 1.0 if np.isinf(rho) else rho / (1 + rho)
    h = np.zeros(len(b))
    rows = lambda h: -logsumexp(log + h + np.log(b), axis=1)  # noqa: E731
    columns = lambda f: -kappa * logsumexp((log + f[:, None]) + np.log(a)[:, None], axis=0)  # noqa: E731
    f = rows(h)
    for half in range(1, half_steps or 20_000):
        before = f
        if half % 2:
            h = columns(f)
        else:
            f = rows(h)
            if half_steps is None and np.abs(f - before - (f - before).mean()).max() < 1e-15:
                break
    return np.exp(log + f[:, None] + h) * b


def law(rho=np.inf, measure=None, **options):
    normalizer = pt.Sinkhorn(rho, tolerance=options.pop("tolerance", 1e-14), **options)
    return pt.Attention(pt.DotProduct(BETA, form=MATRIX), measure or pt.Masses(MASSES), normalizer)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.sampled_from([0.0, 0.1, 1.0, 10.0, np.inf]), st.integers(0, 5))
def test_masses_are_the_marginals(rho, seed):
    x = tokens(seed=seed)
    w = np.asarray(weights(law(rho), x))
    scores = BETA * np.asarray(x) @ MATRIX @ np.asarray(x).T
    assert off(w, scaled(scores, MASSES, MASSES, rho)) < ALGEBRAIC
    assert np.abs(w.sum(axis=1) - 1).max() < ALGEBRAIC
    assert off(w, scaled(scores, np.full(N, 1 / N), MASSES, rho)) > CONTROL * ALGEBRAIC or rho == 0


def test_columns_receive_their_masses_when_rho_is_infinite():
    w = np.asarray(weights(law(), X))
    assert off(MASSES @ w, MASSES) < ALGEBRAIC
    assert off(MASSES @ np.asarray(weights(law(1.0), X)), MASSES) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("rho", [0.5, 3.0])
def test_relaxed_columns_solve_their_equation(rho):
    """h = -kappa log sum_i a_i K_ij e^f_i directly, by Newton's method on all h at once."""

    def f_of(h):
        return -logsumexp(SCORES + h + np.log(MASSES), axis=1)

    def miss(h):
        return h + rho / (1 + rho) * logsumexp(SCORES + f_of(h)[:, None] + np.log(MASSES)[:, None], axis=0)

    solved = root(miss, np.zeros(N), tol=1e-14)
    expected = np.exp(SCORES + f_of(solved.x)[:, None] + solved.x) * MASSES
    assert off(weights(law(rho), X), expected) < 1e-11  # the residual of hybr
    assert off(weights(law(1.1 * rho), X), expected) > 1e-9


@pytest.mark.parametrize("rho", [1.0, np.inf])
def test_priors_are_part_of_the_kernel(rho):
    prior = DENSITIES + 0.1
    w = weights(law(rho, pt.Masses(MASSES) * pt.measures.Given(prior)), X)
    assert off(w, scaled(SCORES, MASSES, MASSES, rho, density=prior)) < ALGEBRAIC
    assert off(w, scaled(SCORES, MASSES, MASSES, rho)) > CONTROL * ALGEBRAIC


def test_masks_that_leave_enough_to_see():
    w = np.asarray(weights(law(measure=pt.NotSelf()), X))
    assert np.all(np.diag(w) == 0)
    assert off(w.sum(axis=0), np.ones(N)) < 1e-11
    assert off(w.sum(axis=1), np.ones(N)) < ALGEBRAIC


@pytest.mark.parametrize("half_steps", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rho", [1.0, np.inf])
def test_few_half_steps_are_those_of_the_literature(half_steps, rho):
    w = np.asarray(weights(law(rho, half_steps=half_steps), X))
    assert off(w, scaled(SCORES, MASSES, MASSES, rho, half_steps)) < ALGEBRAIC
    assert off(w, scaled(SCORES, MASSES, MASSES, rho, half_steps + 1)) > CONTROL * ALGEBRAIC
    if half_steps == 1:
        assert off(w, softmax(SCORES, MASSES)) < ALGEBRAIC
    if half_steps % 2 == 0 and np.isinf(rho):
        assert off(MASSES @ w, MASSES) < ALGEBRAIC


def test_rows_and_columns_of_different_tokens():
    y = tokens(5, seed=1)
    b = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    w = pair_weights(law(measure=pt.Masses(b)), X, y)
    scores = BETA * np.asarray(X) @ MATRIX @ np.asarray(y).T
    assert off(w, scaled(scores, np.full(N, 1 / N), b, np.inf)) < ALGEBRAIC


def test_weights_do_not_depend_on_the_gauge():
    """With scores moved by numbers of rows and columns, doubly stochastic weights stay; so do the masses' scale."""
    shift = jnp.asarray(np.add.outer(5 * np.cos(np.arange(N)), 3 * np.sin(np.arange(N))))
    moved = lambda rho: law(rho).tilted(shift[None]).head_weights(ZERO, X, DENSE)[0]  # noqa: E731
    assert off(moved(np.inf), weights(law(), X)) < ALGEBRAIC
    assert off(moved(1.0), weights(law(1.0), X)) > CONTROL * ALGEBRAIC


def test_one_sided_measures_are_refused_when_columns_must_be_exact():
    for measure in (pt.Causal(), pt.ALiBi(0.5), pt.Causal() * pt.Window(2)):
        with pytest.raises(ValueError, match="identity"):
            law(measure=measure)
        law(1.0, measure)
        law(measure=measure, half_steps=4)


def test_too_few_sweeps_say_so():
    unsolved = lambda one: bool(one.unsolved(ZERO, X, DENSE))  # noqa: E731
    assert unsolved(law(sweeps=1))
    assert unsolved(law(1.0, sweeps=1))
    assert not unsolved(law())
    assert not unsolved(law(half_steps=1))
    assert not unsolved(law(sweeps=1, tolerance=1e3))


def test_the_gradient_of_the_score_is_weighed_by_the_weights():
    made = pt.Attention(
        pt.DotProduct(BETA, form=MATRIX), pt.Masses(MASSES), pt.Sinkhorn(tolerance=1e-14), pt.GradScore()
    )
    w = scaled(SCORES, MASSES, MASSES, np.inf)
    assert off(field(made, X), BETA * w @ np.asarray(X) @ MATRIX.T) < ALGEBRAIC
    assert off(field(made, X), BETA * softmax(SCORES, MASSES) @ np.asarray(X) @ MATRIX.T) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("score", [pt.DotProduct(BETA, form=SYMMETRIC), pt.SquaredDistance(BETA)])
def test_a_symmetric_score_gives_half_the_gradient_of_the_transport_energy(score):
    """sum a_i w_ij s_ij - KL, differentiated through the weights: their own derivative must cancel."""
    made = lambda rho: pt.Attention(  # noqa: E731
        score, pt.Masses(MASSES), pt.Sinkhorn(rho, tolerance=1e-14), pt.GradScore()
    )

    def miss(rho):
        def energy(x):
            w = weights(made(rho), x)
            a = jnp.asarray(MASSES)
            return jnp.sum(a[:, None] * w * (score(x, x) - jnp.log(w / a[None, :])))

        return off(2 * MASSES[:, None] * np.asarray(field(made(rho), X)), jax.jit(jax.grad(energy))(X))

    assert miss(np.inf) < 1e-10
    assert miss(1.0) > 1e-4


@eqx.filter_jit
def derivatives(made, x, direction):
    """Along a direction in tokens, and in the parameters, of a number made of the field."""

    def number(arguments):
        one, x = arguments
        return jnp.sum(jnp.sin(3 * one(ZERO, x, DENSE)))

    gradient = eqx.filter_grad(number)((made, x))
    return gradient, number((made, x + 1e-5 * direction)), number((made, x - 1e-5 * direction))


@pytest.mark.parametrize("rho", [0.5, np.inf])
def test_implicit_gradients_are_the_numerical_ones(rho):
    """Fourth-order differences would gain nothing: the error is 1e-10 from h^2 and 1e-11 from rounding."""
    made, direction = law(rho), tokens(seed=3)
    (in_law, in_x), above, below = derivatives(made, X, direction)
    assert abs(jnp.sum(in_x * direction) - (above - below) / 2e-5) < 1e-8

    def moved(where, step):
        other = eqx.tree_at(where, made, where(made) + step)
        return float(jnp.sum(jnp.sin(3 * field(other, X))))

    mass_step = np.zeros(N)
    mass_step[2] = 1e-5
    where = {"beta": (lambda m: m.score.beta, 1e-5), "mass": (lambda m: m.measure.p, jnp.asarray(mass_step))}
    if np.isfinite(rho):
        where["rho"] = (lambda m: m.normalizer.rho, 1e-5)
    for at, step in where.values():
        numeric = (moved(at, step) - moved(at, -step)) / 2e-5
        assert abs(np.sum(np.asarray(at(in_law) * step)) / 1e-5 - numeric) < 1e-8
    assert abs(in_law.score.beta) > 1e-6
