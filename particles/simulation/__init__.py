"""Runs that are kept: what a run depends on, what it needs, and the loop that makes it."""

from .loop import Interrupted as Interrupted
from .making import Unfinished as Unfinished
from .simulation import Simulation as Simulation
from .simulation import check_name as check_name
from .simulation import check_start as check_start
from .simulation import shrunk_start as shrunk_start
from .simulation import simulate as simulate
