"""Splitting a token into two that share its mass moves nobody; what each normalizer notices of a measure or a score.

Without the first there is no mean-field limit. Derived by hand; textbook forms that count tokens are the controls.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ALGEBRAIC, CONTROL, DENSE, ZERO, field, off
from samples import MASSES, MATRIX, MLP, N, tokens

import particles as pt

X = tokens()
SPLIT_X = jnp.concatenate([X, X[3:4]])
SCORE = pt.DotProduct(3.0, form=MATRIX @ MATRIX.T)
FEATURES = pt.LogFeatures(pt.maps.EluPlusOne(MATRIX))
NORMALIZERS = {
    "softmax": pt.Softmax(),
    "mean": pt.Mean(),
    "null": pt.normalizers.Null(0.3, 0.5),
    "sigmoid": pt.normalizers.Sigmoid(0.2),
    "entmax 1.5": pt.Entmax(1.5),
    "sparsemax": pt.Entmax(2.0),
    "entmax 3": pt.Entmax(3.0),
    "hardmax": pt.Hardmax(),
    "soft hardmax": pt.Hardmax(softness=0.5),
    "sinkhorn 1": pt.Sinkhorn(1.0, tolerance=1e-14),
    "sinkhorn": pt.Sinkhorn(tolerance=1e-14),
    "few sweeps": pt.Sinkhorn(half_steps=3),
    "linear": pt.normalizers.Linear(),
}


def parted(share):
    masses = np.append(MASSES, (1 - share) * MASSES[3])
    masses[3] *= share
    return masses


def moves_somebody(law, share, prior=None):
    """How much the velocities change when token 3 is split in two."""
    extra = () if prior is None else (prior,)
    make = lambda masses: law(np.prod([pt.Masses(masses), *extra]))  # noqa: E731
    whole, split = field(make(MASSES), X), field(make(parted(share)), SPLIT_X)
    return off(split, jnp.concatenate([whole, whole[3:4]]))


@pytest.mark.parametrize("name", NORMALIZERS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(share=st.floats(0.05, 0.95))
def test_splitting_a_token_moves_nobody(name, share):
    normalizer = NORMALIZERS[name]
    score = FEATURES if normalizer.needs_features else SCORE
    law = lambda measure: pt.Attention(score, measure, normalizer, pt.values.Linear(MATRIX))  # noqa: E731
    assert moves_somebody(law, share) < ALGEBRAIC


@pytest.mark.parametrize("value", [pt.Difference(MATRIX), pt.GradScore(), pt.values.Nonlinear(MLP)])
def test_splitting_a_token_moves_nobody_whatever_is_pulled(value):
    assert moves_somebody(lambda measure: pt.Attention(SCORE, measure, value=value), 0.3) < ALGEBRAIC


def test_splitting_a_token_moves_nobody_under_a_density_power():
    law = lambda measure: pt.Attention(SCORE, measure)  # noqa: E731
    assert moves_somebody(law, 0.3, pt.DensityPower(0.5)) < ALGEBRAIC
    assert moves_somebody(law, 0.3, pt.NotSelf()) > CONTROL * ALGEBRAIC  # the twin becomes visible
    assert moves_somebody(law, 0.3, pt.Causal()) > CONTROL * ALGEBRAIC


COUNTED = {
    "entmax 1.5": lambda n: pt.Entmax(1.5, "counting"),
    "sparsemax": lambda n: pt.Entmax(2.0, "counting"),
    "sigmoid": lambda n: pt.normalizers.Sigmoid(-np.log(n), "counting"),
    "null": lambda n: pt.normalizers.Null(0.0, 1 / n),
}


@pytest.mark.parametrize("name", COUNTED)
def test_textbook_forms_notice_copies_of_all_tokens(name):
    """Two copies of every token are the same measure; the same law in the form of measures passes."""
    twice = jnp.concatenate([X, X])

    def change(make):
        one, two = (field(pt.Attention(SCORE, normalizer=make(len(x))), x) for x in (X, twice))
        return off(two, jnp.concatenate([one, one]))

    assert change(lambda n: NORMALIZERS[name]) < ALGEBRAIC
    assert change(COUNTED[name]) > 1e3 * CONTROL * ALGEBRAIC


def test_sinkhorn_with_equal_marginals_notices_a_split():
    """Masses as a factor of pairs, so that the marginals stay uniform."""
    law = lambda p: pt.Attention(SCORE, pt.measures.Given(np.tile(p, (len(p), 1))), pt.Sinkhorn(1.0))  # noqa: E731
    whole, split = field(law(MASSES), X), field(law(parted(0.3)), SPLIT_X)
    assert off(split[:N], whole) > 1e3 * CONTROL * ALGEBRAIC


ROWS, COLUMNS = np.exp(np.linspace(-1, 1, N)), np.exp(np.cos(np.arange(N)))
BOTH = (np.tile(ROWS[:, None], (1, N)), np.tile(COLUMNS, (N, 1)))


@pytest.mark.parametrize(
    ("name", "row_measure", "row_score", "column_score"),
    [
        ("softmax", False, False, True),
        ("hardmax", False, False, True),
        ("entmax 1.5", False, False, True),
        ("sinkhorn", False, False, False),
        ("sinkhorn 1", False, False, True),
        ("mean", True, True, True),
        ("sigmoid", True, True, True),
        ("null", True, True, True),
    ],
)
def test_what_a_normalizer_notices(name, row_measure, row_score, column_score):
    law = lambda *factors: pt.Attention(SCORE, np.prod([pt.Masses(MASSES), *factors]), NORMALIZERS[name])  # noqa: E731
    plain = field(law(), X)
    tilted = lambda shift: law().tilted(jnp.asarray(shift)[None])(ZERO, X, DENSE)  # noqa: E731
    changes = [
        off(field(law(pt.measures.Given(BOTH[0])), X), plain),
        off(tilted(np.log(BOTH[0])), plain),
        off(tilted(np.log(BOTH[1])), plain),
    ]
    for change, noticed in zip(changes, (row_measure, row_score, column_score), strict=True):
        assert change > CONTROL * ALGEBRAIC if noticed else change < ALGEBRAIC


def test_sinkhorn_absorbs_priors_of_keys():
    law = lambda rho, *factors: pt.Attention(  # noqa: E731
        SCORE, np.prod([pt.Masses(MASSES), *factors]), pt.Sinkhorn(rho, tolerance=1e-14)
    )
    prior = pt.measures.Given(BOTH[1])
    for factor in (prior, pt.DensityPower(0.7)):
        assert off(field(law(np.inf, factor), X), field(law(np.inf), X)) < ALGEBRAIC
        assert off(field(law(1.0, factor), X), field(law(1.0), X)) > CONTROL * ALGEBRAIC
