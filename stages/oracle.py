"""The oracle stage: features made of what is true of rendered images, for the ceiling and the floor."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import Parameters
from pipeline.datasets.catalog import dataset_folder, load_facts
from pipeline.datasets.walkers.attributes import TEST_SPLITS, image_ids, read_attributes
from pipeline.datasets.walkers.oracle import KINDS, oracle_features
from pipeline.errors import InputError
from pipeline.evaluation.leakage.walkers_factors import WALKERS_READER
from pipeline.features.feature_set import write_features
from pipeline.outputs import check_output
from stages.console import Console


def run(parameters: Parameters, console: Console, kind: str, out: Path) -> dict[str, Any]:
    """Write the oracle's features of query and gallery; returns a summary.

    Args:
        parameters: ``data`` says the data set and where it lies.
        console: For remarks.
        kind: ``identity``, ``visible`` or ``clothes``.
        out: Feature file, as extract writes it: the same image ids and roles.

    Raises:
        InputError: The data set is not rendered, or its attributes are missing; the kind is unknown.
    """
    check_output(out, "parquet", ["feature"])
    facts = load_facts(parameters.data.dataset)
    if facts.reader != WALKERS_READER:
        raise InputError(f"oracles exist for rendered data sets (reader {WALKERS_READER}), not for {facts.name}")
    chosen = next((known for known in KINDS if known == kind), None)
    if chosen is None:
        raise InputError(f"there is no oracle {kind!r}; there are: {', '.join(KINDS)}")
    folder = dataset_folder(facts, parameters.data.root, os.environ)
    table = read_attributes(folder)
    table = table.filter(np.isin(table["split"].to_numpy(zero_copy_only=False).astype(str), TEST_SPLITS))
    if not table.num_rows:
        raise InputError(f"{folder} has no query and gallery images")
    names = image_ids(table)
    rows = np.argsort(np.asarray(names))  # the order of the manifest
    features = oracle_features(table, rows, chosen)
    ids = table.select(["person_id", "camera_id", "clothes_id"]).take(rows)
    columns = {
        "image_id": pa.array([names[row] for row in rows]),
        "role": table["split"].take(rows),
        **{name: ids[name] for name in ids.column_names},
        "tracklet_id": pa.nulls(len(rows), pa.int64()),
        "feature": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1]),
    }
    write_features(out, pa.table(columns), {"dataset": facts.name, "oracle": kind, "feature": f"oracle-{kind}"})
    console.say(f"oracle {kind}: {len(rows)} images, {features.shape[1]} numbers each -> {out}")
    return {"images": len(rows), "dimension": features.shape[1], "oracle": kind, "out": str(out)}
