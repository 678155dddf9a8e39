"""How much of each token there is, and for whom."""

from .base import AbstractCrowd as AbstractCrowd
from .base import AbstractFactor as AbstractFactor
from .base import AbstractMass as AbstractMass
from .base import AbstractMeasure as AbstractMeasure
from .base import Power as Power
from .base import Product as Product
from .base import Uniform as Uniform
from .base import Union as Union
from .masks import Causal as Causal
from .masks import Global as Global
from .masks import NotSelf as NotSelf
from .masks import Random as Random
from .masks import Window as Window
from .masses import DensityPower as DensityPower
from .masses import Masses as Masses
from .priors import ALiBi as ALiBi
from .priors import Blocks as Blocks
from .priors import Given as Given
from .priors import RelaxedMask as RelaxedMask
from .priors import Toeplitz as Toeplitz
