"""The shape of a record and its words: what can be said of a run before it starts."""

import json
from collections.abc import Mapping
from typing import Any

from ..declaration import described
from ..dynamics import AbstractFlow
from ..integration import Plan
from ..record import Layout, Variable
from .grid import Dimension, Member

JUMPS = 100  # more of them are not told
SYMBOLS = {name: rf"$\{name}$" for name in ("alpha", "beta", "delta", "kappa", "rho", "sigma", "tau")}
SYMBOLS |= {"dt": r"$\Delta t$", "overlap": "$g_0$", "exponent": "$a$", "k": "$k$", "friction": r"$\lambda$"}


def layout(
    plan: Plan, members: list[Member], swept: tuple[Dimension, ...], dtype: str, attributes: Mapping[str, Any]
) -> Layout:
    """The record of members that share a plan's grid, wide enough for the largest of them."""
    kept = [len(range(m.x0.shape[0])[plan.kept(m.x0.shape[0])]) for m in members]
    sizes = {"token": max(kept), "dim": max(m.x0.shape[1] for m in members)}
    sizes |= {"key": sizes["token"], "head": max(m.flow.law.heads for m in members)}
    variables = {}
    if plan.tokens:
        words = {"long_name": "tokens", "symbol": "$x$", "units": "position"}
        largest = max(m.x0.shape[0] for m in members)
        if sizes["token"] < largest:
            words |= {"kept": f"{sizes['token']} of {largest} tokens, spread evenly by index"}
        variables["tokens"] = Variable(("token", "dim"), (sizes["token"], sizes["dim"]), words)
    for watched in plan.watch:
        words = {
            "long_name": watched.name.replace("_", " "),
            "symbol": watched.symbol,
            "units": watched.unit,
            "positive": all(watched.positive_in(m.flow) for m in members),
            "source": ", ".join(watched.sources),
            "parameters": json.dumps({key: value for key, value in described(watched).items() if key != "kind"}),
        }
        variables[watched.name] = Variable(watched.dims, tuple(sizes[dim] for dim in watched.dims), words)
    coordinates = {}
    for dimension in swept:
        symbol = SYMBOLS.get(dimension.name, dimension.name.replace("_", " "))
        coordinates[dimension.name] = (dimension.coordinate(), {"path": dimension.path, "symbol": symbol})
    return Layout(coordinates, variables, plan.frames, plan.chunk, dtype, attributes)


def jumps(flow: AbstractFlow, plan: Plan) -> list[float]:
    """The depths up to the last one at which the law jumps, the first hundred of them."""
    found, t = [], plan.start
    while len(found) < JUMPS and (t := flow.next_jump(t)) <= plan.until:
        found.append(float(t))
    return found


def caption(content: Mapping[str, Any]) -> str:
    """All parameters of a simulation's content in one paragraph, as they would stand under a figure."""
    flow = content["flow"]
    parts = {"start": content["start"], "space": flow.get("space"), "law": flow["law"], "plan": content["plan"]}
    parts = {name: part for name, part in parts.items() if part is not None}
    more = {key: value for key, value in flow.items() if key not in ("space", "law", "summation")}
    parts |= {"flow": more} if len(more) > 1 else {}
    phrases = [f"{name}: {phrase(node)}" for name, node in parts.items()]
    phrases += [f"sweep over {path}: {_shown(values)}" for path, values in content["sweep"].items()]
    return f"{content['name']}, seed {content['seed']}, {content['precision']}. {'; '.join(phrases)}."


def phrase(node: Any) -> str:
    """Plain data of a noun in a few words: its kind, and its parameters in brackets."""
    if isinstance(node, dict) and "kind" not in node:
        return f"[{node['path']}]"
    if isinstance(node, dict):
        inside = ", ".join(f"{key} {phrase(value)}" for key, value in node.items() if key != "kind")
        return f"{node['kind']}({inside})" if inside else str(node["kind"])
    if isinstance(node, list):
        return f"[{_shown(node)}]"
    return f"{node:g}" if isinstance(node, float) else str(node)


def _shown(values: list[Any]) -> str:
    shown = ", ".join(phrase(value) for value in values[:6])
    return f"{shown}, ... ({len(values)} in all)" if len(values) > 6 else shown
