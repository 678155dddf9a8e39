"""Code from elsewhere, on which a run's numbers depend beside its parameters."""

import dataclasses
import hashlib
import inspect
import pathlib

from ..declaration import Declared


def foreign_code(noun: Declared) -> list[str]:
    """A hash of the source of every class that takes part and does not come from this package."""
    found = {f"{cls.__module__}.{cls.__qualname__}": _source(cls) for cls in foreign_classes(noun)}
    return [f"{name} {text}" for name, text in sorted(found.items())]


def foreign_classes(noun: Declared) -> set[type]:
    """The classes that take part and do not come from this package."""
    home, found, waiting = __name__.split(".")[0], set(), [noun]
    while waiting:
        noun = waiting.pop()
        if isinstance(noun, Declared):
            if type(noun).__module__.split(".")[0] != home:
                found.add(type(noun))
            waiting += [getattr(noun, field.name) for field in dataclasses.fields(noun)]
        elif isinstance(noun, tuple | list):
            waiting += noun
        elif isinstance(noun, dict):
            waiting += noun.values()
    return found


def foreign_modules(noun: Declared) -> list[str]:
    """What another process must import to know every class that takes part.

    Raises
    ------
    ValueError
        If one stands in the script that runs, which another process would not import but run.
    """
    found = foreign_classes(noun)
    scripted = [cls.__name__ for cls in found if cls.__module__ == "__main__"]
    if scripted:
        raise ValueError(
            f"workers cannot find {scripted[0]}, which stands in the script that runs: put it in a module of its own, "
            "or run the sweep in one process"
        )
    return sorted({cls.__module__ for cls in found})


def _source(cls: type) -> str:
    """A hash of the file a class stands in; of its compiled methods where there is no file."""
    try:
        code = pathlib.Path(inspect.getfile(cls)).read_bytes()
    except (OSError, TypeError):
        methods = [vars(cls)[name] for name in sorted(vars(cls)) if inspect.isfunction(vars(cls)[name])]
        code = b"".join(m.__code__.co_code + repr(m.__code__.co_consts).encode() for m in methods)
    return hashlib.sha256(code).hexdigest()[:16]
