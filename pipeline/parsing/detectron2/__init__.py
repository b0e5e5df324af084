"""The parser ``detectron2``: networks of that library behind the parser protocol; importing this package registers it.

The library itself is imported when a parser is built, and only after :mod:`pipeline.parsing.detectron2.compat`.
"""

from pipeline.parsing.detectron2.backend import Detectron2Parser, create_detectron2

__all__ = ["Detectron2Parser", "create_detectron2"]
