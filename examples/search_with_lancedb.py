"""Search a feature file with LanceDB, a database on disk that holds features and labels together.

    pip install lancedb
    python examples/search_with_lancedb.py gallery.parquet query.parquet --where "camera_id != 3"

Both files are of `ccaf-pipeline embed` or `extract`, by the same encoder. The gallery becomes a table in the folder
`gallery.lance` beside it, which later runs can add to (`table.add`) and index (`table.create_index`); without an index
the search is exact.
"""

import argparse
import sys
from pathlib import Path

import lancedb
import pyarrow.parquet as pq

import pipeline
from pipeline.errors import PipelineError


def main() -> None:
    """Write the table, and print the nearest images of each query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path, help="feature file")
    parser.add_argument("query", type=Path, help="feature file")
    parser.add_argument("--where", help="condition on the gallery's columns, in SQL")
    parser.add_argument("--top", type=int, default=5, help="images for each query")
    given = parser.parse_args()
    try:
        query, asked = pipeline.read_features(given.query)
    except PipelineError as error:
        sys.exit(f"error: {error}")
    with pq.ParquetFile(given.gallery) as file:
        made = (file.schema_arrow.metadata or {}).get(b"checkpoint_sha256", b"").decode()
        if made != asked.get("checkpoint_sha256", ""):
            sys.exit("error: the two files are of different encoders")
        database = lancedb.connect(given.gallery.with_suffix(".lance"))
        schema = file.schema_arrow.remove_metadata()
        table = database.create_table("gallery", file.iter_batches(), schema=schema, mode="overwrite")
    for name, feature in zip(query.image_id, query.features, strict=True):
        found = table.search(feature, vector_column_name="feature").distance_type("cosine").limit(given.top)
        if given.where is not None:
            found = found.where(given.where, prefilter=True)
        for row in found.select(["image_id", "_distance"]).to_list():
            print(f"{name}\t{row['image_id']}\t{1 - row['_distance']:.4f}")


if __name__ == "__main__":
    main()
