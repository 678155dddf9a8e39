"""The logit of a pair of tokens: how much a query and a key have to do with each other."""

from .base import AbstractFeatureScore as AbstractFeatureScore
from .base import AbstractScore as AbstractScore
from .base import Constant as Constant
from .base import Sum as Sum
from .distances import Geodesic as Geodesic
from .distances import LogDistance as LogDistance
from .distances import Metric as Metric
from .distances import SquaredDistance as SquaredDistance
from .distances import Within as Within
from .learned import Additive as Additive
from .learned import LogFeatures as LogFeatures
from .products import Cosine as Cosine
from .products import DotProduct as DotProduct
