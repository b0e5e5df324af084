"""Score the features of any model under this project's protocols: cloth-changing, same clothes, general.

    python examples/score_features.py features.npz

The file holds one entry per image in each of these arrays (numpy.savez), query and gallery together:

    feature      (N, D) numbers; compared by their cosine
    role         (N,) text: query or gallery
    person_id    (N,) whole numbers
    camera_id    (N,) whole numbers
    clothes_id   (N,) whole numbers, unique over the data set; may be missing, and then only `general` is scored

The features go to a Parquet file beside the .npz, and the scores, with their 95% intervals, to a JSON file.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pipeline
from pipeline.errors import PipelineError

LABELS = ("role", "person_id", "camera_id", "clothes_id")


def write_features(arrays: Path) -> Path:
    """Write the arrays as the Parquet file that ``ccaf-pipeline evaluate`` reads."""
    with np.load(arrays) as given:
        columns = {name: pa.array(given[name]) for name in LABELS if name in given}
        columns["feature"] = pa.array(list(np.asarray(given["feature"], dtype=np.float32)))
    path = arrays.with_suffix(".parquet")
    pq.write_table(pa.table(columns), path)
    return path


def main() -> None:
    """Write the features, score them and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arrays", type=Path, help=".npz file of the arrays")
    path = write_features(parser.parse_args().arrays)
    try:
        scores = pipeline.score_features(path)
    except PipelineError as error:
        sys.exit(f"error: {error}")
    path.with_suffix(".json").write_text(json.dumps(scores, indent=2) + "\n")
    print(f"{'protocol':<10} {'queries':>7} {'Rank-1':>7} {'mAP':>7}")
    for name, figures in scores.items():
        print(f"{name:<10} {figures['n_query']:>7} {figures['rank1']:>7.1f} {figures['mAP']:>7.1f}")


if __name__ == "__main__":
    main()
