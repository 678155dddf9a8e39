"""Seeing a run on a page: one HTML file that needs nothing else.

Below the page stands a payload, plain data that is taken from a stored dataset alone, and a summary in words. The page
adds a template, a style and a script of small modules, which stand in `assets`. Nothing here integrates or draws with
matplotlib; the still figure of a notebook is drawn by `plots`.
"""

from .notebook import Frame as Frame
from .notebook import still as still
from .notebook import view as view
from .page import page as page
from .page import write as write
from .payload import payload as payload
from .source import Source as Source
from .source import source as source
