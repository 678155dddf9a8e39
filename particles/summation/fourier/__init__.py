"""Sums over modes: the kernel of a pair written in waves."""

from .fourier import Fourier as Fourier
from .fourier import Report as Report
