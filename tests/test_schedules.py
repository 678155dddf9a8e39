"""Parameters that change with depth: a scheduled run is a chain of plain ones, whatever jumps on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MATRIX, on_sphere

import particles as pt

X = on_sphere()
BETAS, DEPTHS = [1.0, 6.0, 2.0], [0.37, np.sqrt(2)]
JUMPING = pt.Scheduled(pt.Attention(), (pt.schedules.Piecewise("score.beta", BETAS, DEPTHS),))


def followed(law, x, until, **plan):
    plan = {"rtol": 1e-10, "atol": 1e-12} | plan
    return pt.solve(pt.Flow(pt.Sphere(), law), x, pt.Plan(until=until, save=1, **plan)).final


def chained(laws, edges):
    x = X
    for law, first, last in zip(laws, edges, edges[1:], strict=False):
        x = followed(law, x, last - first)
    return x


def test_pieces_are_plain_runs_one_after_another():
    plain = chained([pt.Attention(pt.DotProduct(beta)) for beta in BETAS], [0.0, *DEPTHS, 2.0])
    np.testing.assert_allclose(followed(JUMPING, X, 2.0), plain, atol=1e-9)
    assert np.max(np.abs(followed(pt.Attention(pt.DotProduct(np.mean(BETAS))), X, 2.0) - plain)) > 1e-3


def test_no_step_straddles_a_jump():
    exact = followed(JUMPING, X, 2.0)
    errors = [np.max(np.abs(followed(JUMPING, X, 2.0, solver="Heun", dt=2.0 / n) - exact)) for n in (16, 32, 64)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 1.6)  # a step across a jump would leave an error of order 1


def test_random_layers_are_drawn_from_their_seed():
    schedule = pt.schedules.Redrawn("value.matrix", (3, 3), period=0.5, scale=0.5, seed=3)
    law = pt.Scheduled(pt.Attention(value=pt.values.Linear(1.0)), (schedule,))
    draws = [schedule(jnp.asarray(0.5 * k + 0.1)) for k in range(3)]
    plain = chained([pt.Attention(value=pt.values.Linear(draw)) for draw in draws], [0.0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(followed(law, X, 1.5), plain, atol=1e-9)
    assert not np.allclose(draws[0], draws[1])
    np.testing.assert_array_equal(schedule(jnp.asarray(0.5)), draws[1])  # at a jump the new layer begins
    many = jax.vmap(pt.schedules.Redrawn("value.matrix", (9, 9), 1.0, 2.0, 0.5, 1))(jnp.arange(50.0))
    error = 2.0 / np.sqrt(many.size)
    assert abs(jnp.mean(many) - 0.5) < 4 * error
    assert abs(jnp.std(many) - 2.0) < 4 * error


def test_one_draw_for_ever_is_weight_sharing():
    schedule = pt.schedules.Redrawn("value.matrix", (3, 3), period=np.inf, scale=0.5, seed=3)
    law = pt.Scheduled(pt.Attention(value=pt.values.Linear(1.0)), (schedule,))
    plain = pt.Attention(value=pt.values.Linear(schedule(jnp.asarray(7.0))))
    np.testing.assert_allclose(followed(law, X, 1.0), followed(plain, X, 1.0), atol=1e-9)
    assert law.next_jump(jnp.asarray(0.3)) == np.inf


def test_interpolation_goes_straight_between_layers():
    layers = np.stack([np.eye(3), MATRIX, -MATRIX])
    schedule = pt.schedules.Interpolated("value.matrix", layers, [0.0, 1.0, 3.0])
    for t, expected in ((0.25, 0.75 * np.eye(3) + 0.25 * MATRIX), (2.0, 0 * MATRIX), (9.0, -MATRIX)):
        np.testing.assert_allclose(schedule(jnp.asarray(t)), expected, atol=1e-15)
    np.testing.assert_array_equal([schedule.next_jump(jnp.asarray(t)) for t in (0.0, 1.0, 3.0)], [1.0, 3.0, np.inf])


def test_observables_see_the_law_of_their_depth():
    flow, late = pt.Flow(pt.Sphere(), JUMPING), pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(6.0)))
    energy, t = pt.observables.Energy(), jnp.asarray(1.0)
    np.testing.assert_allclose(energy(flow, t, X), energy(late, t, X), rtol=1e-14)
    assert energy(flow, jnp.asarray(0.0), X) != energy(flow, t, X)


def test_values_of_a_schedule_have_gradients():
    def end(values):
        law = pt.Scheduled(pt.Attention(), (pt.schedules.Piecewise("score.beta", values, DEPTHS),))
        return jnp.sum(followed(law, X, 2.0)[0])

    both, values, h = jax.jit(jax.value_and_grad(end)), jnp.asarray(BETAS), 1e-4
    slope = both(values)[1]
    for k in range(3):
        step = jnp.zeros(3).at[k].set(h)
        numeric = (both(values + step)[0] - both(values - step)[0]) / (2 * h)
        np.testing.assert_allclose(slope[k], numeric, rtol=1e-4, atol=1e-8)
    assert np.all(slope != 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.schedules.Piecewise("score.beta", [1.0, 2.0], [1.0, 2.0]), "needs 1 depths for its values; got 2"),
        (lambda: pt.schedules.Piecewise("score.beta", [1.0, 2.0, 3.0], [2.0, 1.0]), "must increase"),
        (
            lambda: pt.Scheduled(pt.Attention(), (pt.schedules.Redrawn("score.bata"),)),
            "`bata` is not a parameter of DotProduct.*Did you mean `beta`",
        ),
        (
            lambda: pt.Scheduled(
                pt.Attention(pt.SquaredDistance()), (pt.schedules.Piecewise("score.beta", [1.0, -2.0], [1.0]),)
            ),
            "`beta` of SquaredDistance must be greater than 0; got -2",
        ),
        (
            lambda: pt.Scheduled(pt.Attention(), 2 * (pt.schedules.Redrawn("score.beta"),)),
            "one schedule for each of some paths",
        ),
    ],
)
def test_what_a_schedule_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_record_says_where_its_law_jumps_and_where_a_condition_stopped_it(tmp_path):
    law = pt.Scheduled(pt.Attention(), (pt.schedules.Piecewise("score.beta", [1.0, 3.0, 9.0], [0.25, 7.0]),))
    stop = (pt.OneCluster(4.0),)
    start = pt.starts.Uniform(4, 3)
    run = pt.Simulation(start, pt.Flow(pt.Sphere(), law), pt.Plan(until=1.0, save=4, stop=stop))
    said = pt.simulate(run, path=tmp_path / "run", progress=False).dataset.attrs
    assert said["jumps"] == [0.25]  # not the one beyond the end
    assert len(said["stops"]) == 1 and said["stops"][0] < 1.0


FIRST, SECOND = (np.random.default_rng(k).normal(size=(4, 3)) for k in (0, 1))
LAST = 0.3 * np.random.default_rng(2).normal(size=(3, 4))


def feed(first):
    return pt.FeedForward(pt.Perceptron((first, LAST), activation="tanh"))


def test_weights_of_a_perceptron_have_schedules():
    schedule = pt.schedules.Piecewise("map.weights.0", np.stack([FIRST, SECOND]), [0.5])
    law = pt.Scheduled(feed(FIRST), (schedule,))
    plain = chained([feed(FIRST), feed(SECOND)], [0.0, 0.5, 1.0])
    np.testing.assert_allclose(followed(law, X, 1.0), plain, atol=1e-9)
    assert np.max(np.abs(followed(feed(FIRST), X, 1.0) - plain)) > 1e-2
    x = np.asarray(X)
    for weight in (FIRST, SECOND):  # two layers of the network, written out
        x = x + 0.5 * np.tanh(x @ weight.T) @ LAST.T
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    layers = pt.solve(pt.Layers(law), X, pt.Plan(until=1.0, save=1, solver="Layers", dt=0.5)).final
    np.testing.assert_allclose(layers, x, rtol=1e-12)
    with pytest.raises(ValueError, match="do not meet"):
        pt.Scheduled(feed(FIRST), (pt.schedules.Piecewise("map.weights.0", np.ones((2, 5, 3)), [0.5]),))


def test_weights_of_a_perceptron_have_gradients():
    def loss(first):
        flow = pt.Flow(pt.Sphere(), feed(first))
        return jnp.sum(pt.solve(flow, X, pt.Plan(until=0.5, save=1, solver="Heun", dt=0.1)).final[0])

    value = jax.jit(loss)
    direction, h = jnp.asarray(SECOND), 1e-5  # of central differences: error h^2 and rounding 1e-16 / h
    numeric = (value(FIRST + h * direction) - value(FIRST - h * direction)) / (2 * h)
    exact = jnp.sum(jax.jit(jax.grad(loss))(jnp.asarray(FIRST)) * direction)
    assert abs(exact) > 1e-3
    np.testing.assert_allclose(exact, numeric, rtol=1e-7)


def test_numbers_that_are_known_are_looked_at_beside_those_that_are_traced():
    broken = jnp.full((3, 4), jnp.nan)
    with pytest.raises(ValueError, match="`weights` of Perceptron must be finite"):
        jax.jit(lambda first: pt.Perceptron((first, broken)))(FIRST)
