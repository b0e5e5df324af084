"""Search a feature file with FAISS, for more images than an exact search is quick enough for.

    pip install faiss-cpu
    python examples/search_with_faiss.py gallery.parquet query.parquet

Both files are of `ccaf-pipeline embed` or `extract`, by the same encoder. Features have length 1, so that the inner
product is the cosine. The index here is exact; for tens of millions of images take another by its name, such as
`IVF4096,PQ64`: it is smaller and quicker, and finds most of the true neighbours. It is saved beside the gallery.
"""

import argparse
import sys
from pathlib import Path

import faiss

import pipeline
from pipeline.errors import PipelineError


def main() -> None:
    """Build the index, save it, and print the nearest images of each query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path, help="feature file")
    parser.add_argument("query", type=Path, help="feature file")
    parser.add_argument("--index", default="Flat", help="FAISS's name of an index; Flat is exact")
    parser.add_argument("--top", type=int, default=5, help="images for each query")
    given = parser.parse_args()
    try:
        (gallery, made), (query, asked) = (pipeline.read_features(path) for path in (given.gallery, given.query))
    except PipelineError as error:
        sys.exit(f"error: {error}")
    if made.get("checkpoint_sha256") != asked.get("checkpoint_sha256"):
        sys.exit("error: the two files are of different encoders")
    index = faiss.index_factory(gallery.features.shape[1], given.index, faiss.METRIC_INNER_PRODUCT)
    index.train(gallery.features)
    index.add(gallery.features)
    faiss.write_index(index, str(given.gallery.with_suffix(".faiss")))
    similarity, rows = index.search(query.features, given.top)
    for name, values, places in zip(query.image_id, similarity, rows, strict=True):
        for value, place in zip(values, places, strict=True):
            if place >= 0:  # an index that is not exact may find fewer
                print(f"{name}\t{gallery.image_id[place]}\t{value:.4f}")


if __name__ == "__main__":
    main()
