"""Instruments put to one flow at one start, each with a config and a figure."""

from .base import AbstractFlowStudy as AbstractFlowStudy
