"""What can be said of clouds of tokens and of laws beside what a run observes."""

from . import lipschitz as lipschitz
from .transport import wasserstein as wasserstein
