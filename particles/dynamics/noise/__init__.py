"""What is random in a flow: the tokens themselves, the values they are pulled by, or the weights of attention."""

from .base import AbstractNoise as AbstractNoise
from .base import AbstractStateNoise as AbstractStateNoise
from .state import Brownian as Brownian
from .state import CommonMatrix as CommonMatrix
from .weights import AbstractWeightNoise as AbstractWeightNoise
from .weights import Gamma as Gamma
from .weights import Gaussian as Gaussian
from .weights import Gumbel as Gumbel
from .weights import Weibull as Weibull
