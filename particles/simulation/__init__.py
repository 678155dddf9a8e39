"""Runs that are kept: what a run depends on, what it needs, and the loop that makes it."""

from .layout import prepare as prepare
from .loop import Failed as Failed
from .loop import Interrupted as Interrupted
from .loop import Unfinished as Unfinished
from .loop import simulate as simulate
from .simulation import Simulation as Simulation
