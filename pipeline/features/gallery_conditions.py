"""Conditions on the columns of a gallery: expressions of SQL, by DuckDB, that see nothing else."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.feature_set import ROLE_COLUMNS
from pipeline.features.gallery import Gallery

_REPEAT_SECONDS: Final = 0.1


def choose_rows(gallery: Gallery, where: str, seconds: float = math.inf) -> NDArray[np.bool_]:
    """The rows for which an expression of SQL (DuckDB's) is true, such as ``camera_id != 3 and role = 'gallery'``.

    It sees the columns of the gallery, ``role`` and ``split`` by either name, and nothing else: no file, no network.

    Args:
        gallery: The gallery.
        where: The expression.
        seconds: After which it is interrupted.

    Raises:
        InputError: The expression is wrong or takes too long, or no row fits.
    """
    ids = gallery.ids
    for one, other in (ROLE_COLUMNS, ROLE_COLUMNS[::-1]):
        if one in ids.column_names and other not in ids.column_names:
            ids = ids.append_column(other, ids[one])
    taken = {name.lower() for name in ids.column_names}  # DuckDB does not tell them by case
    number = next(name for name in ("row", *(f"row_{more}" for more in range(len(taken) + 1))) if name not in taken)
    ids = ids.append_column(number, pa.array(np.arange(len(gallery))))
    late = Event()
    try:
        with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
            connection.execute("SET python_enable_replacements = false; SET lock_configuration = true")
            with _interrupted(connection, seconds, late):
                fitting = connection.from_arrow(ids).filter(where).project(f'"{number}"').fetchnumpy()[number]
    except (duckdb.Error, RuntimeError) as error:
        if late.is_set():
            raise InputError(f"--where {where!r} takes more than {seconds:g} s: use a simpler one") from None
        reason = " ".join(str(error).partition("\n")[0].split())
        known = ", ".join(name for name in ids.column_names if name != number)
        raise InputError(f"--where {where!r}: {reason} (columns: {known})") from error
    if not len(fitting):
        raise InputError(f"no image of the gallery fits --where {where!r}")
    chosen = np.zeros(len(gallery), dtype=np.bool_)
    chosen[np.asarray(fitting)] = True
    return chosen


@contextmanager
def _interrupted(connection: duckdb.DuckDBPyConnection, seconds: float, late: Event) -> Iterator[None]:
    """Within the block a query is interrupted after so many seconds, and ``late`` is set.

    DuckDB forgets an interrupt that comes before the query has begun: it is repeated until the block ends.
    """
    over = Event()

    def interrupt() -> None:
        left = seconds
        while not over.wait(left):
            late.set()
            with suppress(duckdb.Error):  # it has ended just now
                connection.interrupt()
            left = _REPEAT_SECONDS

    clock = Thread(target=interrupt, daemon=True)
    if math.isfinite(seconds):
        clock.start()
    try:
        yield
    finally:
        over.set()
