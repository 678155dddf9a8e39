"""Inputs from outputs, against closed forms, matrix exponentials and what is proved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.optimize import root

import particles as pt
from particles import studies
from particles.analysis import Backward, LawMap, PlainMap, backward, bounds, contraction, inverted, reconstruction

N, D = 8, 3
X = pt.Sphere().uniform(jax.random.key(0), N, D)
LAW = pt.Attention(pt.DotProduct(0.5), value=pt.values.Linear(0.9))
MEAN = pt.Attention(pt.DotProduct(0.5), normalizer=pt.Mean())


def pieces(*betas):
    """Attention with one beta after another."""
    return pt.Scheduled(
        pt.Attention(pt.DotProduct(1.0)), (pt.schedules.Piecewise("score.beta", list(betas), [0.3, 0.7]),)
    )


SCHEDULED = pieces(1.0, 6.0, 0.2)


def plan(until, tolerance=1e-9, **more):
    return pt.Plan(until, **({"save": 8, "rtol": tolerance, "atol": tolerance} | more))


def test_a_linear_flow_backwards_is_the_inverse_exponential():
    matrix = np.array([[0.2, -1.0, 0.0], [1.0, -0.3, 0.1], [0.0, 0.2, 0.4]])
    flow = pt.Flow(pt.Euclidean(), pt.Drift(matrix))
    back = pt.solve(backward(flow, 1.5), X, plan(1.5)).complete().final
    np.testing.assert_allclose(back, X @ expm(-1.5 * matrix).T, atol=1e-7)


@pytest.mark.parametrize("law", [LAW, SCHEDULED], ids=["shared", "pieces"])
def test_the_way_back_ends_where_the_way_began(law):
    found = reconstruction(pt.Flow(pt.Sphere(), law), X, plan(1.0, 1e-10))
    assert found.converged and found.error < 1e-8
    np.testing.assert_allclose(np.linalg.norm(found.tokens, axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(found.tokens, X, atol=1e-8)


def test_the_way_back_needs_the_depths_of_the_law():
    """The negative control: the layers are gone back in the wrong order."""
    end = pt.solve(pt.Flow(pt.Sphere(), SCHEDULED), X, plan(1.0, 1e-10)).final
    wrong = backward(pt.Flow(pt.Sphere(), pieces(0.2, 6.0, 1.0)), 1.0)
    back = pt.solve(wrong, end, plan(1.0, 1e-10, save=1, tokens=False)).final
    assert float(jnp.abs(back - X).max()) > 1e-3


def test_backwards_against_scipy():
    """DOP853 on the projected field of softmax attention, its sign turned, in NumPy."""

    def field(_, flat):
        x = flat.reshape(N, D)
        w = np.exp(0.5 * x @ x.T)
        u = 0.9 * (w / w.sum(1, keepdims=True)) @ x
        return -(u - np.sum(u * x, axis=1, keepdims=True) * x).reshape(-1)

    expected = solve_ivp(field, (0, 1.0), np.asarray(X).reshape(-1), "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    back = pt.solve(backward(pt.Flow(pt.Sphere(), LAW), 1.0), X, plan(1.0, 1e-10, save=1, tokens=False)).final
    np.testing.assert_allclose(back, expected.reshape(N, D), atol=1e-8)


def test_the_law_backwards_at_its_depths_and_jumps():
    back = Backward(SCHEDULED, 1.0, [0.3, 0.7])
    depths = [0.0, 0.2, 0.3 - 1e-9, 0.3 + 1e-9, 0.5, 0.9]  # of the way back; 0.3 is the jump at 0.7
    for s, beta in zip(depths, [0.2, 0.2, 0.2, 6.0, 6.0, 1.0], strict=True):
        one = pt.Attention(pt.DotProduct(beta))
        zero = jnp.zeros(())
        np.testing.assert_allclose(
            back(jnp.asarray(s), X, pt.Dense()), -one(zero, X, pt.Dense()), rtol=1e-14, err_msg=str(s)
        )
        weights = back.head_weights(jnp.asarray(s), X, pt.Dense())
        np.testing.assert_allclose(weights[0], one.weights(X, pt.Dense()), rtol=1e-14)
        np.testing.assert_allclose(back.at(jnp.asarray(s))(zero, X, pt.Dense()), -one(zero, X, pt.Dense()), rtol=1e-14)
    assert float(back.next_jump(jnp.asarray(0.0))) == pytest.approx(0.3)
    assert float(back.next_jump(jnp.asarray(0.5))) == pytest.approx(0.7)
    assert np.isinf(float(back.next_jump(jnp.asarray(0.8))))


def test_masses_and_tilts_pass_through():
    masses = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(N)))
    back, zero, way = Backward(LAW, 1.0), jnp.zeros(()), pt.Dense()
    np.testing.assert_allclose(back.on_masses(masses)(zero, X, way), -LAW.on_masses(masses)(zero, X, way))
    shift = jnp.asarray(np.random.default_rng(1).normal(size=(1, N, N)))
    np.testing.assert_allclose(back.tilted(shift)(zero, X, way), -LAW.tilted(shift)(zero, X, way))
    assert back.heads == 1 and not back.iterates and not bool(back.unsolved(zero, X, way))


def test_the_error_of_the_way_back_keeps_its_bound():
    rate, errors = bounds.sphere_bound(0.5, 0.9), []
    for depth, tolerance in ((0.5, 1e-5), (2.0, 1e-2), (2.0, 1e-5), (2.0, 1e-8)):
        found = reconstruction(pt.Flow(pt.Sphere(), LAW), X, plan(depth, tolerance))
        size = float(np.abs(np.asarray(X)).max())
        expected = found.steps * np.sqrt(D) * tolerance * (1 + size) * np.exp(rate * depth)
        assert found.bound == pytest.approx(expected, rel=0.3)  # coordinates grow on the way, up to 1
        assert found.error <= found.bound
        errors.append(found.error)
    assert errors[3] < 1e-7 and 1e-5 < errors[1]  # which would not keep the bound of another tolerance
    assert errors[1] > 1e-6 * found.bound


def test_a_flow_with_no_proved_growth_has_no_bound():
    found = reconstruction(pt.Flow(pt.Sphere(), MEAN), X, plan(0.5))
    assert np.isnan(found.bound) and found.error < 1e-7


def test_a_linear_layer_is_undone_at_its_rate():
    matrix = jnp.asarray(np.diag([0.9, -0.5, 0.2]))
    branch, step = PlainMap(lambda x: x @ matrix), 0.6
    y = X + step * branch(X)
    found = inverted(branch, y, step)
    np.testing.assert_allclose(found.tokens, y @ np.linalg.inv(np.eye(3) + step * matrix), atol=1e-13)
    np.testing.assert_allclose(found.tokens, X, atol=1e-13)
    residuals = np.asarray(found.residuals)
    ratio = residuals[11:21] / residuals[10:20]
    np.testing.assert_allclose(ratio, 0.54, rtol=1e-3)  # the largest eigenvalue wins
    assert bool(found.converged) and int(found.sweeps) == np.isfinite(residuals[1:]).sum()


def test_an_attention_layer_is_undone_as_by_a_root_finder():
    branch, step = LawMap(pt.Flow(pt.Euclidean(), LAW)), 0.3
    y = X + step * branch(X)
    found = inverted(branch, y, step)
    assert bool(found.converged)
    np.testing.assert_allclose(found.tokens, X, atol=1e-12)

    def missed(flat):
        x = flat.reshape(N, D)
        w = np.exp(0.5 * x @ x.T)
        return (x + step * 0.9 * (w / w.sum(1, keepdims=True)) @ x - np.asarray(y)).reshape(-1)

    solved = root(missed, np.asarray(y).reshape(-1), tol=1e-13)
    np.testing.assert_allclose(found.tokens, solved.x.reshape(N, D), atol=1e-10)


@pytest.mark.parametrize("step", [0.05, 0.2, 0.3])
def test_the_iteration_is_as_fast_as_proved_and_keeps_its_ball(step):
    branch = LawMap(pt.Flow(pt.Euclidean(), LAW))
    y = X + step * branch(X)
    proved = contraction(LAW, y, step)
    size = float(jnp.linalg.norm(y, axis=1).max())
    assert proved.radius == pytest.approx(size / (1 - step * 0.9), rel=1e-12)
    assert proved.factor == pytest.approx(step * bounds.displacement_bound(0.5, 0.9, proved.radius), rel=1e-12)
    assert proved.proved
    x, error = y, [float(jnp.linalg.norm(y - X, axis=1).max())]
    for _ in range(8):
        x = y - step * branch(x)
        assert float(jnp.linalg.norm(x, axis=1).max()) <= proved.radius
        error.append(float(jnp.linalg.norm(x - X, axis=1).max()))
    assert np.all(error <= error[0] * proved.factor ** np.arange(9) + 1e-15)
    assert float(jnp.linalg.norm(X, axis=1).max()) <= proved.radius


def test_a_law_told_too_little_is_slower_than_its_bound():
    """The negative control: three times the value."""
    loud = pt.Attention(pt.DotProduct(0.5), value=pt.values.Linear(2.7))
    branch, step = LawMap(pt.Flow(pt.Euclidean(), loud)), 0.2
    y = X + step * branch(X)
    residuals = np.asarray(inverted(branch, y, step).residuals)[:12]
    assert np.any(residuals > residuals[0] * contraction(LAW, y, step).factor ** np.arange(12))


def test_biases_widen_the_ball():
    law = LAW + pt.Drift(stimulus=[0.3, 0.0, 0.4], confinement=0.1)
    y = jnp.ones((N, D))
    found = contraction(law, y, 0.1)
    radius = (np.sqrt(3) + 0.1 * 0.5) / (1 - 0.1 * (0.9 + 0.1))
    assert found.radius == pytest.approx(radius, rel=1e-12)


def test_distances_attention_needs_no_ball():
    """L2 attention is Lipschitz everywhere, so its layers are undone whatever the tokens are."""
    law = pt.Attention(pt.SquaredDistance(1.0), value=pt.values.Linear(0.5))
    everywhere = bounds.proved(law, "max", N).value
    step = 0.9 / everywhere
    found = contraction(law, 1e3 * X, step)
    assert found.factor == pytest.approx(0.9, rel=1e-12)


def test_what_is_not_proved_is_told():
    y = X + 1.5 * LawMap(pt.Flow(pt.Euclidean(), LAW))(X)
    assert not contraction(LAW, y, 1.5).proved and np.isinf(contraction(LAW, y, 1.5).factor)
    found = inverted(LawMap(pt.Flow(pt.Euclidean(), LAW)), y, 1.5, sweeps=40)
    assert not bool(found.converged)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: backward(pt.SecondOrder(pt.Sphere(), LAW), 1.0), "cannot be run backwards from its tokens alone"),
        (lambda: backward(pt.Layers(LAW), 1.0), "a residual layer is undone by `inverted`"),
        (lambda: backward(pt.Flow(pt.Ball(), LAW), 1.0), "holds tokens back at its boundary"),
        (lambda: Backward(SCHEDULED, 1.0), "the law jumps at the depths"),
        (lambda: Backward(SCHEDULED, 1.0, [0.3]), "use backward"),
        (
            lambda: contraction(pt.Attention(normalizer=pt.Mean()), X, 0.1),
            "for the normalizer Softmax",
        ),
        (lambda: study(flow=pt.Flow(pt.Ball(), LAW)), "holds tokens back"),
        (lambda: study(solver="RK4"), "no error estimate"),
        (lambda: study(depths=()), "must each have an entry"),
    ],
)
def test_faults_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def study(**changes):
    parts = {
        "start": pt.starts.Uniform(N, D),
        "flow": pt.Flow(pt.Sphere(), LAW),
        "depths": (0.5, 1.0),
        "tolerances": (1e-9,),
        "steps": (0.2,),
    }
    return studies.Invertible(**(parts | changes))


def test_the_study_holds_and_says_where_nothing_is_proved():
    data = study().data()
    checks = study().checks(data)
    assert len(checks) == 3 and all(check.holds for check in checks) and study().outside(data) == ""
    slower = data.assign(residual_bound=data.residual_bound**2)
    assert not all(check.holds for check in study().checks(slower))
    steep = study(steps=(0.2, 0.6))
    assert "need not be invertible" in steep.outside(steep.data())
    unknown = study(flow=pt.Flow(pt.Sphere(), MEAN), depths=(0.5,))
    data = unknown.data()
    assert unknown.checks(data) == () and unknown.outside(data) == ""
