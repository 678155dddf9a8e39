"""Following a flow through depth."""

from .merged import Merged as Merged
from .methods import METHODS as METHODS
from .plan import Plan as Plan
from .run import Effort as Effort
from .run import Failed as Failed
from .run import Run as Run
from .run import State as State
from .run import Status as Status
from .solve import advance as advance
from .solve import begin as begin
from .solve import checked as checked
from .solve import solve as solve
