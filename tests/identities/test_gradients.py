"""What has a potential: free energies of rows, the Gibbs principle, Jacobians of attention, fields that are gradients.

The Gibbs principle is that of 2007.02876; Jacobians, mobilities and the symmetrized law are derived by hand.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ALGEBRAIC, CONTROL, DENSE, ZERO, between, entmax, field, off, softmax, tangent, weights
from samples import DENSITIES, MASSES, MATRIX, MLP, WIDE, N, on_sphere, tokens

import particles as pt

X, Y, P = tokens(), tokens(seed=1), jnp.asarray(MASSES)
BETA = 3.0
SYMMETRIC = np.array([[1.0, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 0.8]])
SCORES = {
    "form": pt.DotProduct(BETA, form=MATRIX),
    "distance": pt.SquaredDistance(BETA, query=WIDE, key=MATRIX[1:]),
    "metric": pt.Metric(pt.maps.Residual(MLP), BETA),
    "logarithm": pt.LogDistance(BETA, 0.1),
    "additive": pt.Additive(MATRIX[0, :2], WIDE, MATRIX[1:], BETA),
}


def entmax_free_energy(alpha):
    """The maximum of sum w s - sum pi phi(w / pi), at a threshold found by bisection; the weights are held still."""

    def free(s):
        high = (alpha - 1) * jnp.max(s, axis=1)
        low = high - jnp.min(P) ** (1 - alpha)

        def halved(_, ends):
            t = (ends[0] + ends[1]) / 2
            lifted = jnp.maximum((alpha - 1) * s - t[:, None], 0) ** (1 / (alpha - 1))
            above = lifted @ P > 1
            return jnp.where(above, t, ends[0]), jnp.where(above, ends[1], t)

        t, _ = jax.lax.fori_loop(0, 100, halved, jax.lax.stop_gradient((low, high)))
        ratio = jax.lax.stop_gradient(jnp.maximum((alpha - 1) * s - t[:, None], 0) ** (1 / (alpha - 1)))
        return (ratio * s - (ratio**alpha - ratio) / (alpha * (alpha - 1))) @ P

    return free


FREE_ENERGIES = {
    "softmax": (pt.Softmax(), lambda s: jnp.log(jnp.exp(s) @ P)),
    "mean": (pt.Mean(), lambda s: jnp.exp(s) @ P),
    "null": (pt.normalizers.Null(0.3, 0.5), lambda s: jnp.log(0.5 * jnp.exp(0.3) + jnp.exp(s) @ P)),
    "sigmoid": (pt.normalizers.Sigmoid(0.2), lambda s: jnp.log1p(jnp.exp(s + 0.2)) @ P),
    "entmax": (pt.Entmax(1.5), entmax_free_energy(1.5)),
    "sparsemax": (pt.Entmax(2.0), entmax_free_energy(2.0)),
}


@pytest.mark.parametrize("name", FREE_ENERGIES)
@pytest.mark.parametrize("score", ["form", "distance"])
def test_grad_score_is_the_gradient_of_the_free_energy_with_keys_held_still(name, score):
    normalizer, free = FREE_ENERGIES[name]
    law = pt.Attention(SCORES[score], pt.Masses(MASSES), normalizer, pt.GradScore())
    of = lambda x, y: jnp.sum(free(SCORES[score](x, y)))  # noqa: E731
    found = field(law, X)
    assert off(found, jax.jit(jax.grad(of))(X, X)) < 1e-10
    assert off(found, jax.jit(jax.grad(lambda x: of(x, x)))(X)) > 1e-8


@pytest.mark.parametrize("score", SCORES)
def test_grad_score_serves_every_smooth_score(score):
    law = pt.Attention(SCORES[score], pt.Masses(MASSES), value=pt.GradScore())
    of = lambda x, y: jnp.sum(jnp.log(jnp.exp(SCORES[score](x, y)) @ P))  # noqa: E731
    assert off(between(law, X, Y), jax.jit(jax.grad(of))(X, Y)) < 1e-10


def test_the_free_energy_of_entmax_is_a_maximum():
    s = np.asarray(SCORES["form"](X, X))
    found = np.asarray(entmax_free_energy(1.5)(jnp.asarray(s)))
    eta = np.random.default_rng(0).dirichlet(np.ones(N), 1000)
    penalty = ((eta / MASSES) ** 1.5 - eta / MASSES) / 0.75 @ MASSES
    assert np.all(eta @ s.T - penalty[:, None] <= found + 1e-12)
    best = np.stack([entmax(line, 1.5, MASSES)[0] for line in s])
    assert off(np.sum(best * s, axis=1) - ((best / MASSES) ** 1.5 - best / MASSES) / 0.75 @ MASSES, found) < 1e-12
    law = pt.Attention(SCORES["form"], pt.Masses(MASSES), pt.Entmax(1.5))
    assert off(weights(law, X), best) < ALGEBRAIC


def test_grad_score_in_closed_form():
    """beta B y, mean shift, and gravity: -grad of (1/2) sum_j m_j log(|x - y_j|^2 + e)."""
    x, y = np.asarray(X), np.asarray(Y)
    law = lambda score, **slots: pt.Attention(score, pt.Masses(MASSES), **slots)  # noqa: E731
    w = np.asarray(law(SCORES["form"]).head(X, DENSE, Y).weighted(jnp.eye(N)))
    grad_score = between(law(SCORES["form"], value=pt.GradScore()), X, Y)
    assert off(grad_score, BETA * w @ y @ MATRIX.T) < ALGEBRAIC
    assert off(grad_score, BETA * w @ y @ MATRIX) > CONTROL * ALGEBRAIC
    tied = pt.SquaredDistance(BETA, query=WIDE)
    shifted = between(law(tied, value=pt.Difference(BETA * WIDE.T @ WIDE)), X, Y)
    assert off(between(law(tied, value=pt.GradScore()), X, Y), shifted) < ALGEBRAIC
    gap = y[None] - x[:, None]
    pull = np.einsum("j,ijd->id", MASSES, gap / (np.sum(gap**2, axis=2, keepdims=True) + 0.1))
    gravity = {"normalizer": pt.Mean(), "value": pt.Difference()}
    assert off(between(law(pt.LogDistance(2.0, 0.1), **gravity), X, Y), pull) < ALGEBRAIC
    assert off(between(law(pt.LogDistance(2.1, 0.1), **gravity), X, Y), pull) > CONTROL * ALGEBRAIC
    plummer = pt.Attention(pt.LogDistance(1.0, 0.1), pt.Masses(MASSES), pt.Mean(), pt.GradScore())
    pull = np.einsum("j,ijd->id", MASSES, gap / (np.sum(gap**2, axis=2, keepdims=True) + 0.1) ** 1.5)
    assert off(between(plummer, X, Y), pull) < ALGEBRAIC


def test_gibbs_identity():
    """sum eta s - KL(eta | pi) = log Z - KL(eta | w), for ten thousand eta at every row."""
    prior = pt.Masses(MASSES) * pt.Window(3)
    law = pt.Attention(SCORES["form"], prior)
    log_z, w = np.asarray(law.free_energy(X, DENSE)), np.asarray(weights(law, X))
    s, pi = np.asarray(SCORES["form"](X, X)), np.asarray(jnp.exp(prior.log_density(jnp.arange(N), jnp.arange(N), N)))
    draws = np.random.default_rng(0).dirichlet(np.ones(N), 10_000)
    for i in range(N):
        seen = pi[i] > 0
        eta = draws[:, seen] / draws[:, seen].sum(axis=1, keepdims=True)
        against = lambda p, i=i, eta=eta, seen=seen: np.sum(eta * np.log(eta / p[i, seen]), axis=1)  # noqa: E731
        value, gap = eta @ s[i, seen] - against(pi), against(w)
        assert off(value, log_z[i] - gap) < ALGEBRAIC
        assert gap.min() >= -1e-15
        swapped = np.sum(w[i, seen] * np.log(w[i, seen] / eta), axis=1)
        assert off(value, log_z[i] - swapped) > CONTROL * ALGEBRAIC


@eqx.filter_jit
def jacobians(law, x, y):
    """In queries, keys and densities."""
    in_density = lambda m: between(eqx.tree_at(lambda law: law.measure.matrix, law, m), x, y)  # noqa: E731
    return (*jax.jacobian(lambda x, y: between(law, x, y), (0, 1))(x, y), jax.jacobian(in_density)(law.measure.matrix))


def test_jacobians_of_softmax_attention():
    density = DENSITIES + 0.1
    law = pt.Attention(SCORES["form"], pt.measures.Given(density), value=pt.values.Linear(MATRIX))
    x, y, v = np.asarray(X), np.asarray(Y), MATRIX
    w = softmax(BETA * x @ MATRIX @ y.T, density)
    mean = w @ y
    in_query, in_key, in_density = (np.asarray(j) for j in jacobians(law, X, Y))
    for i in range(N):
        covariance = np.einsum("j,ja,jb->ab", w[i], y - mean[i], y - mean[i])
        assert off(in_query[i, :, i], BETA * v @ covariance @ MATRIX.T) < 1e-10
        assert off(in_query[i, :, i], BETA * v @ covariance @ MATRIX) > 1e-8
        assert np.all(in_query[i][:, np.arange(N) != i] == 0)
        assert off(in_density[i, :, i], (w[i] / density[i] * ((y - mean[i]) @ v.T).T)) < 1e-10
        for j in range(N):
            formula = w[i, j] * v @ (np.eye(3) + np.outer(y[j] - mean[i], BETA * MATRIX.T @ x[i]))
            assert off(in_key[i, :, j], formula) < 1e-10
            assert off(in_key[i, :, j], w[i, j] * v) > 1e-8  # attention as influence


def energy(x, form=None):
    """(1 / 2 beta) sum_ij p_i p_j e^(beta x_i B x_j)."""
    form = jnp.eye(3) if form is None else jnp.asarray(form)
    return P @ jnp.exp(BETA * x @ form @ x.T) @ P / (2 * BETA)


def test_every_mobility_turns_the_same_gradient_into_a_law():
    """On the sphere with B = V = I: u_i is the tangent gradient of E over p_i and the mobility."""
    x = on_sphere()
    gradient = tangent(x, jax.grad(energy)(x))
    s = np.exp(BETA * np.asarray(x) @ np.asarray(x).T)
    z, g = s @ MASSES, 1 / (1 + np.exp(-np.asarray(x)[:, 0]))
    law = lambda **slots: pt.Attention(pt.DotProduct(BETA), **({"measure": pt.Masses(MASSES)} | slots))  # noqa: E731
    moves = lambda law: tangent(x, field(law, x))  # noqa: E731
    clocks = {
        "sa": (law(), 1 / z),
        "usa": (law(normalizer=pt.Mean()), np.ones(N)),
        "no diagonal": (law(measure=pt.Masses(MASSES) * pt.NotSelf()), 1 / (z - MASSES * np.exp(BETA))),
        "gated": (law(gate=pt.gates.Activation([1.0, 0, 0])), g / z),
    }
    for one, clock in clocks.values():
        assert off(moves(one), (clock / MASSES)[:, None] * gradient) < ALGEBRAIC
    assert off(moves(clocks["no diagonal"][0]), (1 / z / MASSES)[:, None] * gradient) > CONTROL * ALGEBRAIC
    elementwise = law(gate=pt.gates.Activation(np.eye(3)))
    ratio = moves(elementwise) / gradient  # no clock of its own for each token
    assert np.ptp(ratio, axis=1).max() > 1e-3


def test_without_the_diagonal_a_generic_form_has_no_such_energy():
    x = on_sphere()
    gradient = tangent(x, jax.grad(lambda x: energy(x, SYMMETRIC))(x)) / MASSES[:, None]
    slots = {"measure": pt.Masses(MASSES) * pt.NotSelf(), "value": pt.values.Linear(SYMMETRIC)}
    u = tangent(x, field(pt.Attention(pt.DotProduct(BETA, form=SYMMETRIC), **slots), x))
    s = np.exp(BETA * np.asarray(x) @ SYMMETRIC @ np.asarray(x).T)
    off_diagonal = s @ MASSES - MASSES * np.diag(s)
    assert off(u, gradient / off_diagonal[:, None]) > CONTROL * ALGEBRAIC


@eqx.filter_jit
def weighed_jacobian(law, x):
    """Of p_i u_i, as a matrix."""
    return jax.jacobian(lambda x: P[:, None] * law(ZERO, x, DENSE))(x).reshape(3 * N, 3 * N)


def asymmetry(normalizer, form=SYMMETRIC, value=SYMMETRIC):
    score = pt.DotProduct(BETA, form=form)
    jacobian = weighed_jacobian(pt.Attention(score, pt.Masses(MASSES), normalizer, pt.values.Linear(value)), X)
    return off(jacobian, jacobian.T)


def test_which_laws_are_gradients():
    assert asymmetry(pt.Mean()) < 1e-9
    assert asymmetry(pt.Sinkhorn(tolerance=1e-14)) < 1e-9
    for other in (pt.Softmax(), pt.Sinkhorn(1.0, tolerance=1e-14), pt.Entmax(1.5)):
        assert asymmetry(other) > 1e-3
    assert asymmetry(pt.Mean(), form=MATRIX, value=MATRIX) > 1e-3
    assert asymmetry(pt.Mean(), value=np.eye(3)) > 1e-3


@pytest.mark.parametrize("form", [SYMMETRIC, MATRIX])
def test_the_symmetrized_law_is_the_gradient_of_the_free_energies(form):
    """The column term is a second attention: score transposed, Mean, and the density 1/Z_i of the rows."""
    rows = pt.Attention(pt.DotProduct(BETA, form=form), pt.Masses(MASSES), value=pt.GradScore())
    log_z = jax.jit(lambda x: rows.free_energy(x, DENSE))
    density = pt.measures.Given(jnp.broadcast_to(jnp.exp(-log_z(X)), (N, N)))
    transposed = dataclasses.replace(rows, score=pt.DotProduct(BETA, form=form.T), normalizer=pt.Mean())
    columns = dataclasses.replace(transposed, measure=pt.Masses(MASSES) * density)
    gradient = jax.grad(lambda x: P @ log_z(x))(X) / P[:, None]
    assert off(field(rows + columns, X), gradient) < 1e-10
    assert off(field(rows, X), gradient) > 1e-8
