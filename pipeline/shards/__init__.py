"""Parquet shards of parsed images: schema, plan, writer, record, random-access reader."""
