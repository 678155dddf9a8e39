"""Slots at their edges: what once gave wrong or no numbers, files behind a measure, and what does not go together."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tomli_w
from samples import MASSES, on_sphere

import particles as pt
from particles import config
from particles.dynamics import at_precision
from particles.stored import DataError, Stored

X = on_sphere()
DENSE = pt.Dense()


@pytest.mark.parametrize("alpha", [1.0001, 1.5, 2.0, 2.5, 4.0])
@pytest.mark.parametrize("mass", [1e-12, 1e-4, 0.1])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_entmax_sums_to_one_with_a_light_token_on_top(alpha, mass, dtype):
    """Weights against bisection in the threshold, where the bracket is as wide as mass^(1 - alpha)."""
    scores, p = 3 * np.linspace(1, -1, 7), np.array([mass, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1 - mass])
    x = np.stack([np.ones(7), scores], axis=1)
    law = pt.Attention(pt.DotProduct(form=[[0.0, 1.0], [0.0, 0.0]]), pt.Masses(p), pt.Entmax(alpha))
    weights = at_precision(law, jnp.dtype(dtype)).weights(jnp.asarray(x, dtype), DENSE)[0]
    np.testing.assert_allclose(np.sum(weights), 1, rtol=1e-6 if dtype == "float32" else 1e-13)
    low, high = (alpha - 1) * scores.max() - mass ** (1 - alpha), (alpha - 1) * scores.max() - 1
    weigh = lambda t: p * np.maximum((alpha - 1) * scores - t, 0) ** (1 / (alpha - 1))  # noqa: E731
    for _ in range(300):
        middle = (low + high) / 2
        low, high = (middle, high) if weigh(middle).sum() > 1 else (low, middle)
    np.testing.assert_allclose(weights, weigh(low), rtol=5e-3 if dtype == "float32" else 1e-9, atol=1e-7)


def test_sinkhorn_with_rows_that_see_nobody():
    hidden = pt.NotSelf() * pt.Causal()
    for normalizer in (pt.Sinkhorn(1.0), pt.Sinkhorn(0.0), pt.Sinkhorn(half_steps=3)):
        weights = pt.Attention(pt.DotProduct(3.0), hidden, normalizer).weights(X, DENSE)
        np.testing.assert_allclose(np.sum(weights, axis=1), [0, 1, 1, 1, 1, 1, 1], atol=1e-12)
    law = pt.Attention(pt.DotProduct(3.0), pt.measures.Given(np.tri(7, k=-1)), pt.Sinkhorn())
    assert law.unsolved(jnp.zeros(()), X, DENSE)
    run = pt.solve(pt.Flow(pt.Sphere(), law), X, pt.Plan(until=1.0))
    assert run.status == pt.Status.unsolved


def test_too_few_sweeps_end_a_run_and_say_so():
    law = pt.Attention(pt.DotProduct(8.0), normalizer=pt.Sinkhorn(sweeps=2))
    run = pt.solve(pt.Flow(pt.Sphere(), law), X, pt.Plan(until=1.0))
    assert run.status == pt.Status.unsolved
    assert "missed its tolerance" in run.message
    enough = pt.Attention(pt.DotProduct(8.0), normalizer=pt.Sinkhorn())
    assert pt.solve(pt.Flow(pt.Sphere(), enough), X, pt.Plan(until=0.1, save=1)).status == pt.Status.done


def test_a_prior_in_the_maximum_counts_once_in_the_free_energy():
    plain = pt.Attention(pt.DotProduct(3.0), pt.Masses(MASSES))
    with_prior = pt.Attention(pt.DotProduct(3.0), pt.Masses(MASSES), pt.Hardmax(prior=True))
    np.testing.assert_allclose(with_prior.log_partition(X, DENSE), plain.log_partition(X, DENSE), rtol=1e-14)


def test_heads_take_numpy():
    matrices = np.random.default_rng(0).normal(size=(3, 4, 3))
    assert len(pt.multihead(*matrices, matrices[0].T, 2).laws) == 2
    with pytest.raises(ValueError, match="3 heads do not divide a width of 4"):
        pt.multihead(*matrices, matrices[0].T, 3)


@pytest.mark.parametrize(
    "law",
    [pt.Attention(measure=pt.NotSelf()), pt.Attention(gate=pt.gates.WithoutSelf())],
    ids=["measure", "gate"],
)
def test_itself_means_nothing_between_species(law):
    assert pt.Cross(law, (0, 4), (0, 4)).law is law
    with pytest.raises(ValueError, match="speak of a token and itself"):
        pt.Cross(law, (0, 4), (4, 7))


def simulation(directory, path):
    content = {
        "name": "given",
        "start": {"kind": "Uniform", "tokens": 7, "dim": 3},
        "flow": {
            "space": {"kind": "Sphere"},
            "law": {"kind": "Attention", "measure": {"kind": "Given", "path": path}},
        },
        "plan": {"until": 0.5, "save": 2},
    }
    (directory / "given.toml").write_text(tomli_w.dumps(content))
    return config.load(directory / "given.toml")


def test_a_measure_from_a_file(tmp_path):
    matrix = np.random.default_rng(0).uniform(size=(7, 7))
    np.save(tmp_path / "prior.npy", matrix)
    from_file = simulation(tmp_path, "prior.npy")
    record = pt.simulate(from_file, path=tmp_path / "run", progress=False)
    law = pt.Attention(measure=pt.measures.Given(matrix))
    final = pt.solve(pt.Flow(pt.Sphere(), law), from_file.first(), pt.Plan(until=0.5, save=2)).final
    np.testing.assert_allclose(record.dataset.tokens[-1], final, atol=1e-5)
    (kept,) = (tmp_path / "run").glob("given-*.npy")
    np.testing.assert_array_equal(np.load(kept), matrix)
    assert f'path = "{kept.name}"' in record.config
    identity = from_file.identity()
    np.save(tmp_path / "prior.npy", matrix + 1)
    assert simulation(tmp_path, "prior.npy").identity() != identity


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.full((7, 7), -1.0), "a finite density, at least 0 for each pair; got -1 at row 0, column 0"),
        (np.ones(7), "must be a matrix; got shape"),
        (np.ones((6, 7)), r"a matrix of shape \(6, 7\), but there are 7 x 7 pairs"),
    ],
)
def test_a_file_that_is_no_measure(tmp_path, matrix, words):
    np.save(tmp_path / "prior.npy", matrix)
    with pytest.raises(ValueError, match=words):
        simulation(tmp_path, "prior.npy")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"", "cannot be read as an array"), (np.full((7, 7), -1.0), "at row 0")],
    ids=["missing", "empty", "negative"],
)
def test_a_fault_of_a_file_names_the_key_of_its_measure(tmp_path, content, words):
    if isinstance(content, bytes):
        (tmp_path / "prior.npy").write_bytes(content)
    elif content is not None:
        np.save(tmp_path / "prior.npy", content)
    with pytest.raises(config.ConfigError if content is not None and len(content) else DataError) as caught:
        simulation(tmp_path, "prior.npy")
    assert str(caught.value).startswith("given.toml: flow.law.measure")
    assert words in str(caught.value)


NOUNS = {
    'pt.Attention(normalizer="softmax")': "`normalizer` of Attention must be a Normalizer; got str",
    "pt.Attention(normalizer=pt.Softmax)": "`normalizer` of Attention must be a Normalizer; got the class Softmax; "
    "write Softmax(...)",
    "pt.Attention(gate=0.5)": "`gate` of Attention must be a Gate; got float",
    "pt.NoisyFlow(pt.Sphere(), pt.Attention(), 0.3)": "`noise` of NoisyFlow must be a Noise; got float",
    "pt.Cross(pt.Drift(), (0, 2), (2, 4))": "`law` of Cross must be a Interaction; got Drift",
    "pt.TalkingHeads((pt.Drift(),), [[1.0]])": "`laws` of TalkingHeads must hold nothing but Attentions; got Drift",
    "pt.TalkingHeads(pt.Attention(), [[1.0]])": "`laws` of TalkingHeads must be a tuple, (..., ); got Attention",
    'pt.Scheduled(pt.Attention(), pt.schedules.Redrawn("score.beta"))': "`schedules` of Scheduled must be a tuple, "
    "(..., ); got Redrawn",
    'pt.schedules.Redrawn("value.matrix", shape=3)': "`shape` of Redrawn must be a tuple, (..., ); got int",
}


def test_nouns_in_the_wrong_place_are_named():
    """In a process of its own, since in tests the hook that checks types would speak first."""
    program = ["import particles as pt", f"for call in {list(NOUNS)!r}:", "    try:", "        eval(call)"]
    program += ["    except ValueError as fault:", "        print(fault)"]
    done = subprocess.run([sys.executable, "-c", "\n".join(program)], capture_output=True, text=True)
    assert done.stdout.splitlines() == list(NOUNS.values()), done.stderr


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.measures.Given(np.eye(2), path=Stored.of(np.eye(2))), "one of `matrix` and `path`; got both"),
        (lambda: pt.measures.Toeplitz([]), "needs one density for each distance"),
        (lambda: pt.TalkingHeads((), np.eye(1)), "no heads; give at least one"),
        (
            lambda: pt.Cross(
                pt.Attention(pt.LogFeatures(pt.maps.EluPlusOne()), pt.Causal(), pt.normalizers.Linear()), (0, 4), (4, 6)
            ).check_tokens(6, 3),
            "as many queries as keys, to sum as it goes; got 4 and 2",
        ),
    ],
)
def test_what_is_refused_names_the_parameter(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_noise_on_logits_that_are_never_formed_is_refused():
    linear = pt.Attention(pt.LogFeatures(pt.maps.EluPlusOne(np.eye(3))), normalizer=pt.normalizers.Linear())
    with pytest.raises(ValueError, match="Linear multiplies features out and never forms the logits"):
        linear.tilted(jnp.zeros((1, 4, 4)))
    softmax = dataclasses.replace(linear, normalizer=pt.Softmax())
    x = pt.Sphere().uniform(jax.random.key(0), 4, 3)
    shift = jnp.zeros((1, 4, 4)).at[0, 0, 1].set(2.0)
    assert np.abs(softmax.tilted(shift)(jnp.zeros(()), x, DENSE) - softmax(jnp.zeros(()), x, DENSE)).max() > 0.01
