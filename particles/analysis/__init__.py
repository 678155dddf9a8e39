"""What can be said of clouds of tokens and of laws beside what a run observes."""

from . import lipschitz as lipschitz
from .token_map import AbstractTokenMap as AbstractTokenMap
from .token_map import FieldMap as FieldMap
from .token_map import FlowMap as FlowMap
from .token_map import LawMap as LawMap
from .token_map import LayerMap as LayerMap
from .token_map import PlainMap as PlainMap
from .transport import wasserstein as wasserstein
