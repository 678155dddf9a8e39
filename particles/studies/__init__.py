"""Instruments put to one flow at one start, each with a config and a figure."""

from .alignment import QueryKeyAlignment as QueryKeyAlignment
from .base import AbstractFlowStudy as AbstractFlowStudy
from .influence import Influence as Influence
from .invertible import Invertible as Invertible
from .landscape import Landscape as Landscape
from .lipschitz import Lipschitz as Lipschitz
from .lyapunov import Lyapunov as Lyapunov
from .maximum_entropy import MaximumEntropy as MaximumEntropy
from .mean_field import MeanFieldDensity as MeanFieldDensity
from .misspecified import Misspecified as Misspecified
from .paths import Paths as Paths
from .work_precision import WorkPrecision as WorkPrecision
from .worst_case import WorstCase as WorstCase
