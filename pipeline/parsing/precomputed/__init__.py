"""The parser ``precomputed``: label maps or masks that users already have; importing this package registers it."""

from pipeline.parsing.precomputed.backend import PrecomputedParser, create_precomputed

__all__ = ["PrecomputedParser", "create_precomputed"]
