"""The run directory: what happened, on disk."""

from .files import Damaged as Damaged
from .files import replace as replace
from .lock import Locked as Locked
from .reader import Record as Record
from .reader import open_record as open_record
from .whole import keep as keep
from .writer import Layout as Layout
from .writer import Variable as Variable
from .writer import Writer as Writer
