"""What one token does to another."""

from .attention import Attention as Attention
from .base import AbstractLaw as AbstractLaw
from .base import AbstractPotentialLaw as AbstractPotentialLaw
from .base import Sum as Sum
from .measure import AbstractMeasure as AbstractMeasure
from .measure import Causal as Causal
from .measure import Masses as Masses
from .measure import NotSelf as NotSelf
from .normalizer import AbstractNormalizer as AbstractNormalizer
from .normalizer import Mean as Mean
from .normalizer import Softmax as Softmax
from .score import AbstractScore as AbstractScore
from .score import DotProduct as DotProduct
from .score import SquaredDistance as SquaredDistance
from .value import AbstractValue as AbstractValue
from .value import Difference as Difference
