"""Named numbers of a state."""

from .attention import AttentionWeights as AttentionWeights
from .attention import FreeEnergy as FreeEnergy
from .attention import PriorDivergence as PriorDivergence
from .attention import RowEntropy as RowEntropy
from .attention import SinkMass as SinkMass
from .attention import TokenEntropy as TokenEntropy
from .base import AbstractObservable as AbstractObservable
from .base import observable as observable
from .clusters import Clusters as Clusters
from .clusters import Distinct as Distinct
from .clusters import labels as labels
from .information import MutualInformation as MutualInformation
from .information import QuadraticInformation as QuadraticInformation
from .interaction import Energy as Energy
from .motion import KineticEnergy as KineticEnergy
from .shape import ROWS as ROWS
from .shape import Diameter as Diameter
from .shape import EffectiveRank as EffectiveRank
from .shape import MeanCosine as MeanCosine
from .shape import OrderParameter as OrderParameter
from .shape import Radius as Radius
