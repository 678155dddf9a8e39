"""The commands: each a function whose signature and docstring are its help.

What belongs to JAX, zarr or matplotlib is imported inside them, so that help and misspelt options answer at once. The
last line on standard output of `run` and `resume` is the run directory; everything said to a person goes to standard
error.
"""

from .judging import verify as verify
from .looking import doctor as doctor
from .looking import list_ as list_
from .looking import schema as schema
from .running import check as check
from .running import resume as resume
from .running import run as run
from .running import work as work
from .showing import animate as animate
from .showing import plot as plot
from .showing import view as view

COMMANDS = (run, resume, work, verify, plot, animate, view, check, list_, schema, doctor)
