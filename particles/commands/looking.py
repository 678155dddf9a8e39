"""Commands that run nothing: what there is to choose from, the schema of configs, the installation."""

import pathlib
from typing import Annotated, Literal

import tyro

from .. import machine
from .ending import DONE, NUMERICS

Family = Literal[
    "spaces",
    "summations",
    "laws",
    "scores",
    "measures",
    "normalizers",
    "values",
    "gates",
    "maps",
    "schedules",
    "norms",
    "flows",
    "noises",
    "starts",
    "observables",
    "stops",
    "solvers",
    "figures",
    "experiments",
    "claims",
]


def list_(family: Annotated[Family | None, tyro.conf.Positional] = None, /) -> int:
    """List what a config can name: every class with its parameters, one line, and its source.

    Args:
        family: of which family; without it, of all.
    """
    from ..listing import FAMILIES, lines

    for name in [family] if family else FAMILIES:
        print(name)
        print("\n".join(f"  {line}" for line in lines(name)))
    return DONE


def schema() -> int:
    """Print the JSON Schema of configs, for editors."""
    import json

    from ..config import schema as derived

    print(json.dumps(derived(), indent=2))
    return DONE


def doctor() -> int:
    """Look the installation over: versions, devices, room, and whether jaxlib computes right numbers."""
    import json

    facts = machine.provenance()
    print(json.dumps(facts, indent=2))
    free = machine.free_memory()
    print(f"memory free: {'unknown' if free is None else f'{free / 2**30:.1f} GiB'}")
    print(f"disk free here: {machine.free_disk(pathlib.Path.cwd()) / 2**30:.1f} GiB")
    print(f"compile cache: {machine.cache_directory() / 'compiled'}")
    wrong = machine.canary()
    if wrong:
        print(machine.UNTRUSTED.format(facts["versions"]["jaxlib"], wrong, machine.CANARY_ROWS))  # pyright: ignore
        return NUMERICS
    print("jaxlib computes right numbers: yes")
    return DONE
