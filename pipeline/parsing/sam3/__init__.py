"""The parser ``sam3``: text prompts, one phrase a label; importing this package registers it and needs no library."""

from pipeline.parsing.sam3.backend import create_sam3
from pipeline.parsing.sam3.network import Sam3Parser

__all__ = ["Sam3Parser", "create_sam3"]
