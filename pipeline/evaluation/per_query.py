"""Results of single queries as a table: average precision, first good rank, and the best gallery images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation.ranking import Retrieval
from pipeline.files import atomic_file

DEPTH = 10

PER_QUERY_SCHEMA = pa.schema(
    [
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("reranked", pa.bool_(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("person_id", pa.int64(), nullable=False),
        pa.field("good_count", pa.int64(), nullable=False),
        pa.field("junk_count", pa.int64(), nullable=False),
        pa.field("average_precision", pa.float64()),  # null, as first_rank: the query has no good item
        pa.field("first_rank", pa.int64()),
        pa.field("gallery_image_ids", pa.list_(pa.string()), nullable=False),  # best first, junk removed
        pa.field("gallery_good", pa.list_(pa.bool_()), nullable=False),
    ]
)


@dataclass(frozen=True)
class ScoredQueries:
    """The queries of one protocol."""

    protocol: str
    reranked: bool
    retrieval: Retrieval

    def table(self) -> pa.Table:
        """One row a query, in their order."""
        found = self.retrieval
        absent = ~found.valid
        names, good = [], []
        for positions, marks in zip(found.head, found.head_good, strict=True):
            kept = positions >= 0
            names.append(found.gallery_image_id[positions[kept]].tolist())
            good.append(marks[kept].tolist())
        columns = [
            [self.protocol] * len(absent),
            [self.reranked] * len(absent),
            found.image_id.tolist(),
            found.person_id,
            found.good,
            found.junk,
            pa.array(found.average_precision, mask=absent),
            pa.array(found.first_rank, mask=absent),
            names,
            good,
        ]
        return pa.table(columns, schema=PER_QUERY_SCHEMA)


def write_per_query(path: Path, scored: Sequence[ScoredQueries]) -> None:
    """Write the queries of several protocols into one Parquet file, atomically."""
    tables = [PER_QUERY_SCHEMA.empty_table(), *(queries.table() for queries in scored)]
    with atomic_file(path) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)
