"""The library of ccaf-pipeline: one folder an idea, imports only downward, nothing of the command line.

The way of an image: ``datasets`` -> ``parsing`` -> ``shards`` -> ``training`` (with ``models`` and ``losses``) ->
``evaluation`` -> ``reporting``. Each step writes an artifact that the next one reads.
"""

__version__ = "0.1.0"
