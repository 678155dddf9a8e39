"""The guide to laws: every row of its tables runs, and every class has a row."""

import dataclasses
import pathlib
import re

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from samples import on_sphere

import particles as pt
from particles import laws
from particles.declaration import Declared, family
from particles.laws import gate, maps, measure, norm, normalizer, schedule, score, value

GUIDE = (pathlib.Path(__file__).parent.parent / "docs" / "guide" / "laws.md").read_text()
CODE = re.compile(r"`(pt\..+?)` \|")
TABLES, REST = GUIDE.split("## Which system is which choice")
SYSTEMS, REFUSED = REST.split("## What does not go together")
X = on_sphere(8)


def rows(part):
    return [line.replace("\\|", "|") for line in part.splitlines() if line.startswith("| ") and "`pt." in line]


def made(row):
    return eval(CODE.search(row)[1], {"pt": pt, "np": np})


def law_of(noun: Declared) -> pt.AbstractLaw:
    """A law that has the noun at its place."""
    holders = {
        laws.AbstractLaw: lambda: noun,
        score.AbstractScore: lambda: pt.Attention(noun),
        measure.AbstractMeasure: lambda: pt.Attention(measure=noun),
        normalizer.AbstractNormalizer: lambda: pt.Attention(
            pt.LogFeatures(pt.maps.EluPlusOne()) if noun.needs_features else pt.DotProduct(4.0), normalizer=noun
        ),
        value.AbstractValue: lambda: pt.Attention(value=noun),
        gate.AbstractGate: lambda: pt.Attention(gate=noun),
        maps.AbstractMap: lambda: pt.FeedForward(noun),
        schedule.AbstractSchedule: lambda: pt.Scheduled(pt.Attention(value=pt.values.Linear(1.0)), (noun,)),
        norm.AbstractNorm: lambda: pt.Normalized(pt.Attention(), noun),
    }
    return next(law() for family_of, law in holders.items() if isinstance(noun, family_of))


@pytest.mark.parametrize("row", rows(TABLES), ids=lambda row: row.split("|")[1].strip())
def test_every_row_is_a_class_at_work(row):
    noun = made(row)
    assert type(noun).__name__ == row.split("|")[1].strip()
    law = law_of(noun)
    law.check_tokens(*X.shape)
    velocity = eqx.filter_jit(law)(jnp.zeros(()), X, pt.Dense())
    assert velocity.shape == X.shape
    assert jnp.all(jnp.isfinite(velocity))


def test_every_class_has_a_row():
    written = {(type(made(row)).__module__, type(made(row)).__name__) for row in rows(TABLES)}
    slots = (score.AbstractScore, measure.AbstractMeasure, normalizer.AbstractNormalizer, value.AbstractValue)
    others = (gate.AbstractGate, maps.AbstractMap, laws.AbstractLaw, schedule.AbstractSchedule, norm.AbstractNorm)
    there = {(cls.__module__, name) for abstract in slots + others for name, cls in family(abstract).items()}
    assert written == there


@pytest.mark.parametrize("row", rows(SYSTEMS), ids=lambda row: row.split("|")[1].strip())
def test_every_system_moves(row):
    law = made(row)
    law.check_tokens(*X.shape)
    velocity = eqx.filter_jit(law)(jnp.zeros(()), X, pt.Dense())
    assert jnp.all(jnp.isfinite(velocity)) and jnp.any(velocity != 0)


@pytest.mark.parametrize("row", rows(REFUSED), ids=lambda row: row.split("`")[1])
def test_every_refusal_refuses(row):
    with pytest.raises(ValueError):
        made(row)


def test_the_broken_row_would_fail():
    law = dataclasses.replace(law_of(pt.Masses([0.5, 0.5])))
    with pytest.raises(ValueError, match="2 masses and 8 tokens"):
        law.check_tokens(*X.shape)
