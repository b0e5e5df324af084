"""The parser ``segformer``, the former name of ``transformers``; shards that were made under it stay bound to it."""

from pipeline.parsing.forward import ANY_DEVICE, refuse_precision
from pipeline.parsing.parser import register_parser
from pipeline.parsing.transformers.backend import TransformersSettings, create_transformers

register_parser("segformer", TransformersSettings, refuse_precision, ANY_DEVICE)(create_transformers)
