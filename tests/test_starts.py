"""Starts: their laws, and what is wrong with a file."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, vonmises_fisher

import particles as pt
from particles.starts import Blobs, DataError, Equiangular, Given, Uniform, VonMisesFisher

KEY = jax.random.key(3)
drawn = eqx.filter_jit(lambda start, space, key: start(space, key))


def test_uniform_on_the_sphere_is_uniform():
    x = np.asarray(Uniform(4000, 3)(pt.Sphere(), KEY))
    heights = kstest(x[:, 2], "uniform", (-1, 2))  # Archimedes: a coordinate on S^2 is uniform
    assert heights.pvalue > 1e-3
    assert kstest(x[:, 2] ** 3, "uniform", (-1, 2)).pvalue < 1e-6


def test_uniform_in_the_ball():
    x = np.asarray(Uniform(4000, 3)(pt.Ball(2.0), KEY))
    assert kstest((np.linalg.norm(x, axis=1) / 2) ** 3, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_von_mises_fisher_against_scipy(dim):
    kappa, mean = 6.0, np.eye(dim)[0]
    ours = np.asarray(drawn(VonMisesFisher(3000, dim, kappa, mean=mean), pt.Sphere(), KEY)) @ mean
    theirs = vonmises_fisher(mean, kappa).rvs(3000, random_state=1) @ mean
    assert kstest(ours, theirs).pvalue > 1e-3
    assert kstest(ours, vonmises_fisher(mean, 4.0).rvs(3000, random_state=1) @ mean).pvalue < 1e-6


def test_von_mises_fisher_at_its_ends():
    assert np.linalg.norm(np.mean(drawn(VonMisesFisher(2000, 3, 0.0), pt.Sphere(), KEY), axis=0)) < 0.1
    tight = drawn(VonMisesFisher(50, 3, 1e8, mean=[1.0, 1.0, 0.0]), pt.Sphere(), KEY)
    np.testing.assert_allclose(tight, np.tile([2**-0.5, 2**-0.5, 0], (50, 1)), atol=1e-3)


@pytest.mark.parametrize(("n", "dim", "g"), [(5, 5, 0.3), (5, 8, 0.0), (5, 4, -0.25), (4, 1, 1.0), (1, 1, 0.5)])
def test_equiangular_overlaps(n, dim, g):
    space = pt.Sphere() if dim > 1 else pt.Euclidean()
    x = Equiangular(n, dim, g)(space, KEY)
    np.testing.assert_allclose(x @ x.T, (1 - g) * np.eye(n) + g if n > 1 else 1.0, atol=1e-12)


@pytest.mark.parametrize(("n", "dim", "g"), [(5, 4, 0.3), (5, 3, -0.25), (5, 9, -0.3), (3, 3, 1.1)])
def test_equiangular_that_do_not_exist_are_refused(n, dim, g):
    with pytest.raises(ValueError, match=r"dimension|overlap"):
        Equiangular(n, dim, g)


def test_blobs_gather_around_their_centers():
    centers = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    x = Blobs(10, 3, blobs=2, spread=0.01, centers=centers)(pt.Sphere(), KEY)
    np.testing.assert_allclose(x, centers[np.arange(10) % 2], atol=0.06)
    gaussian = np.asarray(Blobs(2000, 2, blobs=1, spread=0.5)(pt.Euclidean(), KEY))
    assert kstest(gaussian[:, 0] / 0.5, "norm").pvalue > 1e-3


def test_given_reads_three_formats(tmp_path):
    x = np.asarray(Uniform(6, 3)(pt.Sphere(), KEY))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", first=x, second=-x)
    np.savetxt(tmp_path / "x.csv", x, delimiter=",", fmt="%.18e")
    for start in (
        Given(str(tmp_path / "x.npy")),
        Given(str(tmp_path / "x.npz"), "first"),
        Given(str(tmp_path / "x.csv")),
    ):
        np.testing.assert_allclose(start(pt.Sphere(), KEY), x, atol=1e-15)


def write(path, what):
    if what == "nan":
        np.save(path, np.array([[1.0, 0], [0, np.nan]]))
    elif what == "pickle":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif what == "vector":
        np.save(path, np.ones(3))
    elif what == "complex":
        np.save(path, np.ones((2, 2), complex))
    elif what == "off":
        np.save(path, np.array([[1.0, 0], [0, 1.1]]))
    elif what == "empty":
        np.save(path, np.ones((0, 2)))
    elif what == "noise":
        path.write_bytes(b"\x00\x01nothing")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nan", "token 1, coordinate 1"),
        ("pickle", "cannot be read"),
        ("vector", r"shape \(3,\)"),
        ("complex", "real numbers"),
        ("off", "token 1 does not lie on the Sphere"),
        ("empty", r"shape \(0, 2\)"),
        ("noise", "cannot be read"),
        ("missing", "No such file"),
    ],
)
def test_given_refuses_bad_files(tmp_path, what, words):
    path = tmp_path / "x.npy"
    write(path, what)
    with pytest.raises(DataError, match=words) as refused:
        Given(str(path))(pt.Sphere(), KEY)
    assert "pickle" not in str(refused.value)  # numpy's advice is to trust the file


def test_given_refuses_ambiguous_archives_and_unknown_formats(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    (tmp_path / "x.json").write_text("[]")
    (tmp_path / "x.csv").write_text("1,2\n3,four\n")
    for path, words in (("x.npz", "say which"), ("x.json", "ending in"), ("x.csv", "cannot be read")):
        with pytest.raises(DataError, match=words):
            Given(str(tmp_path / path))(pt.Euclidean(), KEY)


def test_spaces_refuse_what_they_cannot():
    with pytest.raises(ValueError, match="Blobs"):
        Uniform(3, 2)(pt.Euclidean(), KEY)
    with pytest.raises(ValueError, match="dimension 2 or more"):
        Uniform(3, 1)(pt.Sphere(), KEY)


def test_product_space_starts():
    from particles.spaces import Product

    x = drawn(Uniform(5, 5), Product((pt.Sphere(), pt.Ball(0.5)), (3, 2)), KEY)
    np.testing.assert_allclose(jnp.linalg.norm(x[:, :3], axis=1), 1, rtol=1e-14)
    assert jnp.all(jnp.linalg.norm(x[:, 3:], axis=1) <= 0.5)
