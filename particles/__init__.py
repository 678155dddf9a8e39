"""The laboratory for transformers seen as interacting particles.

A Law says what one token does to another; a Summation visits all of them; a Space says where they live; a Flow puts the
three together; a Plan says how long, how exactly and what to watch; a Run is what came of it and a Record keeps it; an
Experiment asks a question of runs and a Verdict answers it.

The names are declared in `__init__.pyi`, once, for people, type checkers and the interpreter; each is loaded when it is
first used, so that `import particles` and `particles --help` do not wait for JAX.
"""

import ast
import importlib
import pathlib
from typing import Any

from . import display

__version__ = "0.1.0"


def _declared() -> dict[str, tuple[str, str]]:
    """For each public name the module it comes from and its name there."""
    stub = ast.parse(pathlib.Path(__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    names = [(f".{node.module or ''}", alias) for node in imports for alias in node.names]
    return {alias.asname or alias.name: (module, alias.name) for module, alias in names}


_HOMES = _declared()
__all__ = list(_HOMES)


display.answers(lambda: importlib.import_module(".view", __name__))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    home = importlib.import_module(module, __name__)
    if vars(home).get(attribute) is None:  # a namespace: a module of its own
        found = importlib.import_module(f"{module}.{attribute}".replace("..", "."), __name__)
    else:
        found = vars(home)[attribute]
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
