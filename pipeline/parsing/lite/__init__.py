"""The embedded parser ``lite``: a small network that gives LIP labels; importing this package registers it."""

from pipeline.parsing.lite.backend import LiteParser, create_lite

__all__ = ["LiteParser", "create_lite"]
