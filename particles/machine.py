"""The machine under a run: what must be set before JAX starts, whether its numbers can be trusted, what room it has.

`prepare` acts through environment variables, before JAX is imported and only where the user has not spoken. The canary
computes a small sum whose answer is known: one release of jaxlib gets it wrong on CPUs, silently, and a run on
that release would be worthless.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import shutil
import socket
import sys
from collections.abc import Iterable

DISTRIBUTION = "attention-particles"
CANARY_ROWS = 32769  # jaxlib 0.10.2 loses the last block of a float32 reduction from this many rows on (jax#39103)
UNTRUSTED = (
    "jaxlib {0} computes wrong numbers on this machine ({1} of {2} rows). Install another: pip install 'jaxlib!={0}'"
)
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
PROCESSES, CONTROL = pathlib.Path("/proc"), pathlib.Path("/sys/fs/cgroup")
GROUPS = {  # of control groups, by their root: what is used, what of it is idle cache, and the limits; both versions
    "": ("memory.current", "inactive_file", "memory.max", "memory.high"),
    "memory": ("memory.usage_in_bytes", "total_inactive_file", "memory.limit_in_bytes"),
}
# What figures look like does not change what a run computed.
DRAWING = ("plots", "view", "display.py", "report.py", "commands", "__main__.py")


class Untrusted(RuntimeError):
    """The installed jaxlib computes wrong numbers."""


def prepare() -> list[str]:
    """Environment of the command line, set before JAX is imported; returns warnings if it came too late.

    Errors inside compiled programs become NaN, which the run loop looks for: the default callbacks would keep every
    program out of the compile cache. The cache is private to the user, because it holds code.
    """
    wanted = {
        "EQX_ON_ERROR": "nan",
        "JAX_ENABLE_X64": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA warns at length on loading a compiled program; its errors raise anyway
    }
    cache = cache_directory() / "compiled"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache.chmod(0o700)
        wanted |= {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        warnings = []
    except OSError as error:
        warnings = [f"no compile cache in {cache}: {error}"]
    late = "jax" in sys.modules and any(name not in os.environ for name in wanted)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    if late:
        warnings.append("JAX was imported before `particles`; precision and compile cache are as they were then")
    return warnings


def for_workers(doubles: bool, several: bool) -> dict[str, str]:
    """Environment of a process that works for this one: the same precision, the same modules.

    Where there are several on this machine, each keeps to one core: threads of all for each would be in one another's
    way.
    """
    environment = {
        "JAX_ENABLE_X64": str(int(doubles)),
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
    }
    if several:
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip()
    return environment


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_directory() -> pathlib.Path:
    """The user's own cache of this program."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / DISTRIBUTION


def canary() -> int:
    """The number of wrong rows in a sum whose answer is known; 0 on a jaxlib that can be trusted."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    rows = np.repeat(np.arange(CANARY_ROWS, dtype=np.float32)[:, None], 3, axis=1)
    square = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3, dtype=jnp.float32) @ row) ** 2)))
    expected = np.sum(rows.astype(np.float64) ** 2, axis=1)
    return int(np.sum(~np.isclose(np.asarray(square(jnp.asarray(rows))), expected, rtol=1e-5)))


def trust() -> None:
    """Runs the canary once for each jaxlib, and remembers that it passed.

    Raises
    ------
    Untrusted
        Naming the version, if the numbers are wrong.
    """
    version = _version("jaxlib")
    passed = cache_directory() / "trusted" / f"{version}-{machine_type()}"
    if passed.exists():
        return
    wrong = canary()
    if wrong:
        raise Untrusted(UNTRUSTED.format(version, wrong, CANARY_ROWS))
    try:
        passed.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        passed.touch()
    except OSError as error:
        print(f"the canary will run again next time: {error}", file=sys.stderr)


def machine_type() -> str:
    """Processor and instruction sets, as far as they decide the bits of a result."""
    flags = ""
    cpuinfo = PROCESSES / "cpuinfo"
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        flags = next((line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def provenance() -> dict[str, object]:
    """Versions, machine and environment of this process: what a result may depend on beside its config."""
    import jax

    devices = jax.devices()
    return {
        "versions": libraries(),
        "code": code_digest(),
        "host": socket.gethostname(),
        "machine": machine_type(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "environment": {name: os.environ[name] for name in ("XLA_FLAGS", "JAX_PLATFORMS") if name in os.environ},
    }


def libraries() -> dict[str, str]:
    """The versions of what takes part in a computation."""
    names = ("jax", "jaxlib", "diffrax", "equinox", "optimistix", "lineax", "numpy", "scipy", "zarr", "xarray")
    return {"python": platform.python_version(), **{name: _version(name) for name in (DISTRIBUTION, *names)}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def code_digest() -> str:
    """A hash of the package's own source, the drawing of figures left out: the version of what computes."""
    root = pathlib.Path(__file__).parent
    digest = hashlib.sha256(_version(DISTRIBUTION).encode())
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] not in DRAWING:
            digest.update(relative.as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def free_memory() -> int | None:
    """Bytes a new process may use: what the kernel has, or what the control group leaves; None if unknown."""
    limits = []
    meminfo = PROCESSES / "meminfo"
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in fields:
            limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    limits += [left for root, files in GROUPS.items() for group in _groups(root) for left in _left(group, *files)]
    return min(limits) if limits else None


def _groups(root: str) -> list[pathlib.Path]:
    """The control group of this process below a root, and those it is part of; a container sees its own as the root."""
    top, path = CONTROL / root, ""
    with contextlib.suppress(OSError, ValueError):
        for line in (PROCESSES / "self" / "cgroup").read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            path = place.strip("/") if root in controllers.split(",") else path
    own = top / path
    return [own, *(above for above in own.parents if above.is_relative_to(top))]


def _left(group: pathlib.Path, usage: str, cache: str, *limits: str) -> list[int]:
    """Bytes that each limit of a control group leaves.

    What was read from files and is not in use counts as used by a group, though it makes room as soon as room is
    wanted: it is taken off, as the kernel takes it off its own figure.
    """
    with contextlib.suppress(OSError, ValueError):
        stored = dict(line.split(maxsplit=1) for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / usage).read_text()) - int(stored.get(cache, 0))
        return [max(0, int(limit) - used) for limit in _read(group, limits) if limit.isdecimal()]  # "max" is none
    return []  # no such group


def _read(folder: pathlib.Path, names: Iterable[str]) -> list[str]:
    return [(folder / name).read_text().strip() for name in names if (folder / name).exists()]


def free_disk(path: pathlib.Path) -> int:
    """Bytes free on the file system that would hold a path."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
