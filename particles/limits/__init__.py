"""What becomes of attention in the limits that theory knows: depth, time, number of tokens, temperature."""

from . import depth as depth
from . import equiangular as equiangular
from . import fixed_point as fixed_point
from . import growth as growth
from . import injected as injected
from . import split as split
from .domain import Circle as Circle
from .domain import Zonal as Zonal
from .mean_field import MeanField as MeanField
