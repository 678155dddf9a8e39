"""A config is a constructor call written down.

Every table is a constructor call: `kind` names a final class of the family that the place asks for, the other keys
are its parameters. The models that check a config are derived from the classes themselves, fields, defaults and
bounds, so a new class can be configured the moment it exists, and a fault in a config reads like a fault in a call.
All faults are reported at once, each with its place and the nearest name that would have been right. No class outside
the families can be named, and nothing in a config is ever executed.
"""

from .faults import ConfigError as ConfigError
from .loading import build as build
from .loading import load as load
from .loading import schema as schema
