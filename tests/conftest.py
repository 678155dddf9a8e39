"""What all tests share: double precision, strict promotion, one compile cache for the whole session."""

import ctypes
import gc
import importlib.metadata
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

# Before JAX is imported. The cache is shared by the workers of a session and by later ones.
CACHE = pathlib.Path(tempfile.gettempdir()) / f"attention-particles-tests-{os.getuid()}"
CACHE.mkdir(mode=0o700, exist_ok=True)
os.environ.setdefault("XDG_CACHE_HOME", str(CACHE))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Two thirds of the time of a test went into compiling programs that then run for milliseconds. Without LLVM's
# optimizations, in one piece and without fused kernels they compile three times faster, into a quarter of the memory
# maps. The mathematics is the same, the last bits are not: `XLA_FLAGS= pytest` compiles all programs as a user's are.
QUICK = {"xla_cpu_parallel_codegen_split_count": 1}
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones end on flags they do not know
    QUICK["xla_cpu_use_fusion_emitters"] = False
if os.environ["JAX_PLATFORMS"] == "cpu" and "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(f"--{flag}={value}".lower() for flag, value in QUICK.items())
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax  # noqa: E402
import pytest  # noqa: E402
import tiers  # noqa: E402

jax.config.update("jax_enable_x64", True)
if os.environ["JAX_PLATFORMS"] == "cpu":
    jax.config.update("jax_num_cpu_devices", 3)  # for systems that are shared by devices; all else runs on the first
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


# Tracing makes and drops objects by the million beside a heap of compiled programs; looking through all of it as often
# as Python does by itself costs a sixth of the session.
gc.collect()
gc.freeze()
gc.set_threshold(200_000, 20, 100)

MAPS, SIZES = pathlib.Path("/proc/self/maps"), pathlib.Path("/proc/self/statm")
MANY_MAPS = 30_000  # of the 65530 that Linux allows a process
SELDOM = 10
LARGE = 1.6e9  # bytes of a worker from which on it forgets; a laptop has two workers and 8 GB
GROWN = 1.3  # times what was left when it last forgot: what is not of programs would be looked for again and again
tests = itertools.count(1)
allowed = LARGE


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    return int(SIZES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if SIZES.exists() else 0


@pytest.fixture(autouse=True)
def forgetting():
    """Programs are forgotten before they take too much memory, or all memory maps of a process, where XLA would crash.

    What is needed again comes back from the cache on disk. Counting so many maps takes a while: it is done seldom.
    """
    global allowed  # noqa: PLW0603
    yield
    many = next(tests) % SELDOM == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS
    if many or resident() > allowed:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
        allowed = max(LARGE, GROWN * resident())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish():
    """One look for what nobody holds any more, at the end: pytest takes five, each seconds long beside such a heap."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def inside(tmp_path, monkeypatch, capsys):
    """The command line in this process, where it needs none of its own: what it ends with and says, in a new folder."""
    from particles import machine
    from particles.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "prepare", list)  # this process is prepared
    monkeypatch.setenv("JAX_ENABLE_X64", "1")  # and those that it starts

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["particles", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, end.value.code or 0, said.out, said.err)

    return call


@pytest.fixture
def few_programs(monkeypatch):
    """Sums over modes of few programs in place of a ladder: a tenth of the compilation, enough for small systems."""
    from particles.summation.fourier import fourier

    monkeypatch.setattr(fourier, "LADDER", {1: (64,), 2: (64,), 3: (20,)})
    monkeypatch.setattr(fourier, "SHARE", 1)


@pytest.fixture
def optimized():
    """Programs are compiled as a user's are, where they run for longer than that takes."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1")


@pytest.fixture
def unchecked():
    """Types are not looked at: what is called has been called by other tests, and here a hundred thousand times."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_addoption(parser):
    parser.addoption(
        "--tier",
        choices=("everyday", "exhaustive", "all"),
        default="everyday",
        help="everyday: what runs in ten minutes (the default); exhaustive: all else; tests named by :: always run",
    )


def pytest_collection_modifyitems(config, items):
    """Leaves the tests of the other tier out, unless one is asked for by its name."""
    wanted = config.getoption("tier")
    if wanted == "all" or any("::" in argument for argument in config.args):
        return
    kept = [item for item in items if tiers.is_exhaustive(item.nodeid) == (wanted == "exhaustive")]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def spent() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """With PARTICLES_MEASURE=FILE in the environment, notes what each test costs; `tests/tiers.py` reads it."""
    before = spent()
    yield
    if "PARTICLES_MEASURE" in os.environ:
        with open(os.environ["PARTICLES_MEASURE"], "a") as file:  # one short line, which no other worker tears apart
            file.write(f"{spent() - before:.3f} {item.nodeid}\n")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one worker, where its tests share what they have compiled, unless `--dist` says otherwise."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)
