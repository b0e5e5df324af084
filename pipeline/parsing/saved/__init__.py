"""Models that the library ``transformers`` saved: where they are, and reading them without running anybody's code."""
