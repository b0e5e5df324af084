"""The parser ``transformers``; importing this package registers it, and needs no library of that name."""

from pipeline.parsing.transformers.backend import create_transformers
from pipeline.parsing.transformers.semantic import SemanticParser
from pipeline.parsing.transformers.universal import UniversalParser

__all__ = ["SemanticParser", "UniversalParser", "create_transformers"]
