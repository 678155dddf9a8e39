"""One script of many modules.

A page carries its script with it. The modules in `assets` are plain ones that node runs as they are; here their imports
and exports are taken out and what is left is put one after another, in an order in which nothing is used before it is
there. All share one scope then, so no two modules may declare a name twice: that is refused.
"""

import pathlib
import re

ASSETS = pathlib.Path(__file__).parent / "assets"

MODULES = (
    "decode", "depth", "scales", "camera", "pick", "urlstate", "colors", "geometry", "similarity", "store", "elements",
    "webgl", "canvas", "backdrop", "stage", "charts", "tree", "matrix", "model", "legend", "controls", "main",
)  # fmt: skip
"""In order of use: none needs a later one while it is being loaded."""

_IMPORT = re.compile(r"^import\s[^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const|let)\b)", re.MULTILINE)
_NAME = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) ([A-Za-z_$][\w$]*)", re.MULTILINE)
_SEVERAL = re.compile(r"^(?:export )?(?:const|let) [\[{]", re.MULTILINE)


def bundle(sources: dict[str, str]) -> str:
    """The modules as one script.

    Parameters
    ----------
    sources : the text of each module by its name, in order.

    Raises
    ------
    ValueError
        If two modules declare the same name or one declares several at once, or imports what comes later.
    """
    owner: dict[str, str] = {}
    parts = []
    for module, text in sources.items():
        for needed in re.findall(r'^import\s[^;]*from "\./(\w+)\.js";', text, re.MULTILINE):
            if needed not in [name for name, _ in parts]:
                raise ValueError(f"{module}.js imports {needed}.js, which must come before it")
        if _SEVERAL.search(text):
            raise ValueError(f"{module}.js declares several names at once; write one declaration for each")
        for name in _NAME.findall(text):
            if name in owner:
                raise ValueError(f"`{name}` is declared in {owner[name]}.js and in {module}.js; one must be renamed")
            owner[name] = module
        parts.append((module, _EXPORT.sub("", _IMPORT.sub("", text)).strip()))
    return "\n".join(f"// {name}\n{text}" for name, text in parts) + "\n"


def script() -> str:
    """The script of a page."""
    return bundle({name: (ASSETS / f"{name}.js").read_text() for name in MODULES})
