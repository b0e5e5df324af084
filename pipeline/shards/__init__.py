"""Parquet shards of parsed images: schema, record, random-access reader, local copies; ``making`` writes them."""
