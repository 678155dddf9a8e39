"""Runs that are kept: what a run depends on, what it needs, and the loop that makes it."""

from .loop import Interrupted as Interrupted
from .simulation import Simulation as Simulation
from .simulation import Unfinished as Unfinished
from .simulation import simulate as simulate
