"""The parser ``schp``, the paper's; importing this package registers it."""

from pipeline.parsing.schp.backend import SchpParser, create_schp

__all__ = ["SchpParser", "create_schp"]
