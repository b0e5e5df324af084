"""ccaf-pipeline as a library: a handful of functions for programs of one's own.

    >>> import pipeline
    >>> reader = pipeline.open_shards("artifacts/walkers/shards")
    >>> encoder = pipeline.load_encoder("artifacts/walkers/encoder")
    >>> features = encoder.embed(["one.jpg", "two.jpg"])
    >>> pipeline.score_features("artifacts/walkers/features.parquet")["cc"]["rank1"]

These names are stable between releases, and each is imported when it is first used, so that ``import pipeline`` costs
nothing. The modules below are the program's own: one folder an idea, imports only downward.

The way of an image: ``datasets`` -> ``parsing`` -> ``shards`` -> ``training`` (with ``models`` and ``losses``) ->
``features`` -> ``evaluation`` -> ``reporting``. Each step writes an artifact that the next one reads.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["Encoder", "FeatureSet", "load_encoder", "open_shards", "read_features", "read_record", "score_features"]


def __getattr__(name: str) -> object:
    """A name of :mod:`pipeline.api`, imported now."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("pipeline.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
