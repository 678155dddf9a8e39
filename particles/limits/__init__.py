"""What becomes of attention in the limits that theory knows: depth, time, number of tokens, temperature."""

from . import circle_modes as circle_modes
from . import depth as depth
from . import equiangular as equiangular
from . import fixed_point as fixed_point
from . import gaussian_exact as gaussian_exact
from . import growth as growth
from . import injected as injected
from . import long_context as long_context
from . import metastability as metastability
from . import phase as phase
from . import placement as placement
from . import random_values as random_values
from . import retrieval as retrieval
from . import small_bandwidth as small_bandwidth
from . import split as split
from . import two_clusters as two_clusters
from .domain import Circle as Circle
from .domain import Zonal as Zonal
from .gaussian import GaussianFlow as GaussianFlow
from .gaussian import stacked as stacked
from .mean_field import MeanField as MeanField
from .mergers import Merger as Merger
from .mergers import mergers as mergers
from .phase import phase_diagram as phase_diagram
from .reclocked import Reclocked as Reclocked
from .reclocked import TrueDepth as TrueDepth
