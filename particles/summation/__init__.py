"""How all pairs of tokens are visited."""

from .auto import Auto as Auto
from .base import AbstractDevices as AbstractDevices
from .base import AbstractPair as AbstractPair
from .base import AbstractSummation as AbstractSummation
from .base import Gathered as Gathered
from .bilinear import Bilinear as Bilinear
from .bilinear import Unserved as Unserved
from .blocked import Blocked as Blocked
from .dense import Dense as Dense
from .fourier import Fourier as Fourier
from .fourier import Report as Report
from .sharded import Sharded as Sharded
