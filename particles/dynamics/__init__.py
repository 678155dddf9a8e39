"""How tokens move: a space, a law and a summation put together, at first order, with inertia, or with noise."""

from .base import AbstractFlow as AbstractFlow
from .base import AbstractInertialFlow as AbstractInertialFlow
from .base import Reading as Reading
from .base import at_precision as at_precision
from .flow import Flow as Flow
from .layers import Layers as Layers
from .noise import AbstractNoise as AbstractNoise
from .noisy import Noisy as Noisy
from .noisy import NoisyFlow as NoisyFlow
from .second_order import Moving as Moving
from .second_order import SecondOrder as SecondOrder
from .summed import summation_report as summation_report
from .summed import summations as summations
