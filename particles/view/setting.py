"""What a page reads in a config: which tokens are of one species, and when weights of attention follow from positions.

Only plain data is read; nothing is constructed. What is not recognized is left out: a matrix then shows similarity.
"""

from collections.abc import Iterator
from typing import Any

import xarray as xr

_SCORES = {"DotProduct": "dot", "SquaredDistance": "distance"}
_MEASURES = {"Uniform": False, "Causal": True}


def numbers(dataset: xr.Dataset, settings: dict[str, Any]) -> list[int]:
    """The number that each stored token has in the run."""
    count = dataset.sizes["token"]
    kept = str(dataset["tokens"].attrs.get("kept", ""))
    wanted = settings.get("plan", {}).get("tokens")
    if not kept or isinstance(wanted, bool) or not isinstance(wanted, int):
        return list(range(count))
    total = int(kept.split(" of ")[1].split()[0])
    return list(range(0, total, -(-total // wanted)))[:count]


def species(settings: dict[str, Any]) -> list[int]:
    """Where a species begins or ends, but for token 0; empty if neither the law nor the start knows any."""
    edges: set[int] = set()
    for node in _nodes(settings.get("flow", {}).get("law", {})):
        if node.get("kind") == "Cross":
            edges |= {edge for side in ("queries", "keys") for edge in node[side]}
        if node.get("kind") == "Blocks":
            edges |= set(_sums(node["sizes"]))
    start = settings.get("start", {})
    if start.get("kind") == "Together":
        sizes = [part.get("tokens") for part in start["parts"]]
        edges |= set(_sums(sizes)) if all(isinstance(size, int) for size in sizes) else set()
    return sorted(edges - {0})


def attention(settings: dict[str, Any], dataset: xr.Dataset, at: dict[str, Any]) -> dict[str, Any] | None:
    """How the weights of attention follow from positions, for a law of which a page knows it; else None.

    Parameters
    ----------
    at : the value of each swept coordinate.
    """
    law = settings.get("flow", {}).get("law", {})
    parts = {key: str(node.get("kind")) for key, node in law.items() if isinstance(node, dict)}
    score, measure = parts.get("score", ""), parts.get("measure", "Uniform")
    known = law.get("kind") == "Attention" and parts.get("normalizer") == "Softmax"
    if not known or score not in _SCORES or measure not in _MEASURES or not law["score"].keys() <= {"kind", "beta"}:
        return None
    beta = law["score"].get("beta", 1.0)
    for name, value in at.items():
        path = str(dataset[name].attrs.get("path", ""))
        if path == "flow.law.score.beta":
            beta = float(value)
        elif path.startswith("flow.law.") and path not in ("flow.law.value", "flow.law.value.matrix"):
            return None
    if not isinstance(beta, int | float):
        return None
    return {"score": _SCORES[score], "beta": float(beta), "causal": _MEASURES[measure]}


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from _nodes(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _nodes(inner)


def _sums(sizes: list[int]) -> list[int]:
    found = [0]
    for size in sizes:
        found.append(found[-1] + size)
    return found
