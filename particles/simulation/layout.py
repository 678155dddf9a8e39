"""What can be known of a run before it starts: its members, the shape of its record, its caption, what it will need."""

import dataclasses
import json
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from ..declaration import described, sources_of
from ..dynamics import Flow
from ..integration import Plan, checked
from ..record import Layout, Variable
from .budget import Budget, budget
from .simulation import Simulation

SYMBOLS = {"beta": r"$\beta$", "kappa": r"$\kappa$", "delta": r"$\delta$", "dt": r"$\Delta t$", "overlap": "$g_0$"}
Member = tuple[Flow, Float[Array, "_ _"], Plan]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A simulation's members at their starts, the shape of its record, and what it will need."""

    members: list[Member]
    layout: Layout
    budget: Budget


def prepare(simulation: Simulation) -> Prepared:
    """Everything that can be known, and refused, before a run starts.

    Raises
    ------
    ValueError
        If a member cannot start.
    """
    members = []
    for member in simulation.members():
        member.plan.check_flow(member.flow)
        members.append((member.flow, checked(member.flow, member.first(), member.plan), member.plan))
    layout = _layout(simulation, members)
    sizes = [(flow, (x0.shape[0], x0.shape[1]), plan) for flow, x0, plan in members]
    return Prepared(members, layout, budget(sizes, np.dtype(simulation.precision).itemsize, layout.frame_bytes()))


def _layout(simulation: Simulation, members: list[Member]) -> Layout:
    sizes = {"token": max(x0.shape[0] for _, x0, _ in members), "dim": max(x0.shape[1] for _, x0, _ in members)}
    variables = {}
    if simulation.plan.tokens:
        attributes = {"long_name": "tokens", "symbol": "$x$", "units": "position"}
        variables["tokens"] = Variable(("token", "dim"), (sizes["token"], sizes["dim"]), attributes)
    for watched in simulation.plan.watch:
        attributes = {
            "long_name": watched.name.replace("_", " "),
            "symbol": watched.symbol,
            "units": watched.unit,
            "positive": watched.positive,
            "source": ", ".join(watched.sources),
            "parameters": json.dumps({key: value for key, value in described(watched).items() if key != "kind"}),
        }
        variables[watched.name] = Variable(watched.dims, tuple(sizes[dim] for dim in watched.dims), attributes)
    coordinates = {}
    for swept in simulation.dimensions:
        symbol = SYMBOLS.get(swept.name, swept.name.replace("_", " "))
        coordinates[swept.name] = (swept.coordinate(), {"path": swept.path, "symbol": symbol})
    plan = simulation.plan
    return Layout(coordinates, variables, plan.frames, plan.chunk, simulation.precision, _attributes(simulation))


def _attributes(simulation: Simulation) -> dict[str, Any]:
    space = described(simulation.flow.space)
    attributes = {
        "name": simulation.name,
        "space": space["kind"],
        "caption": caption(simulation),
        "sources": ", ".join(sources_of(simulation)),
    }
    return attributes | ({"radius": space["radius"]} if "radius" in space else {})


def caption(simulation: Simulation) -> str:
    """All parameters in one paragraph, as they would stand under a figure."""
    content = simulation.content(lambda path: path.name)
    flow, plan = content["flow"], content["plan"]
    parts = {"start": content["start"], "space": flow["space"], "law": flow["law"], "plan": plan}
    phrases = [f"{name}: {_phrase(node)}" for name, node in parts.items()]
    phrases += [f"sweep over {path}: {_shown(values)}" for path, values in content["sweep"].items()]
    return f"{simulation.name}, seed {simulation.seed}, {simulation.precision}. {'; '.join(phrases)}."


def _phrase(node: Any) -> str:
    if isinstance(node, dict):
        inside = ", ".join(f"{key} {_phrase(value)}" for key, value in node.items() if key != "kind")
        return f"{node['kind']}({inside})" if inside else str(node["kind"])
    if isinstance(node, list):
        return f"[{_shown(node)}]"
    return f"{node:g}" if isinstance(node, float) else str(node)


def _shown(values: list[Any]) -> str:
    shown = ", ".join(_phrase(value) for value in values[:6])
    return f"{shown}, ... ({len(values)} in all)" if len(values) > 6 else shown
