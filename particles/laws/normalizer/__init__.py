"""What logits become: the weights with which a row pulls at the values of the columns."""

from .base import AbstractNormalizer as AbstractNormalizer
from .base import AbstractOnePass as AbstractOnePass
from .base import AbstractRatio as AbstractRatio
from .closed import Mean as Mean
from .closed import Null as Null
from .closed import Sigmoid as Sigmoid
from .closed import Softmax as Softmax
from .entmax import Entmax as Entmax
from .gaussian import AffineField as AffineField
from .gaussian import Moments as Moments
from .gaussian import Quadratic as Quadratic
from .hardmax import Hardmax as Hardmax
from .linear import Linear as Linear
from .sinkhorn import Sinkhorn as Sinkhorn
