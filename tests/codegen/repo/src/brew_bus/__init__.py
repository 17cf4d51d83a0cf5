"""The bus of the brewery."""

from . import subjects
from .topology import CONTRACT, consumers

__all__ = ["CONTRACT", "consumers", "subjects"]
