"""The parser ``segformer``; importing this package registers it, and needs no transformers."""

from pipeline.parsing.segformer.backend import SegformerParser, create_segformer

__all__ = ["SegformerParser", "create_segformer"]
