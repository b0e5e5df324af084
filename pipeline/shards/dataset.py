"""The data set that shards are of: its facts by name, by file, or as the record of the shards remembers them."""

from pipeline.datasets.catalog import DatasetFacts, UnknownDatasetError, check_facts, load_facts
from pipeline.errors import InputError
from pipeline.location import Place
from pipeline.shards.reader import ShardReader
from pipeline.shards.record import Record, read_record
from pipeline.workspace import Workspace


def _remembered(record: Record, dataset: str, folder: Place) -> DatasetFacts | None:
    """Facts in a record, if there are any and they are of the data set of this name."""
    if record.facts is None or record.facts.get("name") != dataset:
        return None
    return check_facts(record.facts, f"the facts of data set {dataset} in the record of {folder}")


def find_facts(dataset: str, shards: Place | None = None) -> DatasetFacts:
    """Facts of a data set: those of its file, else those that were written down when it was parsed.

    Args:
        dataset: A name, or the path of a YAML file; see :func:`load_facts`.
        shards: Where the shards are; None: at their usual place.

    Raises:
        UnknownDatasetError: No data set has this name, and shards that could tell are not there or do not.
        InputError: The file or the facts in the record are wrong.
    """
    try:
        return load_facts(dataset)
    except UnknownDatasetError:
        folder = shards or Workspace.of(dataset).shards
        try:
            record = read_record(folder)
        except InputError:
            record = None
        facts = None if record is None else _remembered(record, dataset, folder)
        if facts is None:
            raise
        return facts


def open_shards(shards: Place, dataset: str) -> tuple[ShardReader, DatasetFacts]:
    """Open the shards of a data set; its facts are found as :func:`find_facts` does.

    Raises:
        InputError: They are missing, damaged, or of another data set.
    """
    facts = find_facts(dataset, shards)
    reader = ShardReader(shards)
    if reader.metadata.dataset != facts.name:
        raise InputError(
            f"the shards in {shards} are of data set {reader.metadata.dataset}, not of {facts.name}: set --dataset"
        )
    return reader, facts
