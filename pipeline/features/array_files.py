"""Features that other programs keep as arrays: ``.npy`` beside a CSV, ``.npz``, ``.mat``, ``.pt`` and ``.pth``."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from pipeline.errors import InputError

PICKLES: Final = (".pkl", ".pickle", ".joblib")
TABLES: Final = (".csv", ".tsv")
_ALONE: Final = (".npy", ".pt", ".pth")
"""Forms that may hold no labels, which are then in a table beside the file."""
_DELIMITERS: Final = (",", ";", "\t")

COLUMN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "feature": ("feature", "features", "feat", "feats", "f", "embedding", "embeddings"),
    "person_id": ("person_id", "person_ids", "pid", "pids", "label", "labels", "id", "ids"),
    "camera_id": ("camera_id", "camera_ids", "camid", "camids", "cam", "cams", "camera", "cameras"),
    "clothes_id": ("clothes_id", "clothes_ids", "clothid", "clothids", "clothes"),
    "tracklet_id": ("tracklet_id", "tracklet_ids", "tracklet", "tracklets"),
    "image_id": ("image_id", "image_ids", "name", "names", "path", "paths", "img_path", "img_paths"),
    "role": ("role", "roles", "split", "splits"),
}
"""Names that an array may have, by the column that it becomes; capitals do not count."""

SIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "query": ("query_", "query", "q_", "q"),
    "gallery": ("gallery_", "gallery", "g_", "g"),
    "train": ("train_",),
}
"""What stands before such a name where queries and gallery are arrays of their own: ``query_f``, ``gallery_label``."""

_TEXTS: Final = ("image_id", "role")
_MEANINGS: Final = {name: column for column, names in COLUMN_NAMES.items() for name in names}
_SIDED: Final = {
    f"{prefix}{name}": (side, column)
    for side, prefixes in SIDES.items()
    for prefix in prefixes
    for name, column in _MEANINGS.items()
    if column != "role"
}

AnyArray = NDArray[Any]


@dataclass(frozen=True)
class Arrays:
    """Features and what is known of each.

    Attributes:
        features: Numbers (N, D), not normalised.
        ids: Columns of N rows, named as in a feature file.
    """

    features: AnyArray
    ids: pa.Table


@contextmanager
def _readable(path: Path, form: str) -> Iterator[None]:
    """Turn whatever a reader makes of a broken file into one sentence."""
    try:
        yield
    except (InputError, FileNotFoundError):
        raise
    except Exception as error:  # the libraries raise many kinds on broken files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"feature file {path} cannot be read as {form}: {reason}") from error


def _read_npy(path: Path) -> Arrays:
    with _readable(path, "a NumPy array without objects"):
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    return Arrays(_matrix(features, "the array", path), _read_table(path, len(features)))


def _read_npz(path: Path) -> Arrays:
    with _readable(path, "NumPy arrays without objects"), np.load(path, allow_pickle=False) as file:
        return _assemble({name: file[name] for name in file.files if _is_known(name)}, file.files, path)


def _read_mat(path: Path) -> Arrays:
    from scipy.io import loadmat, whosmat

    with _readable(path, "a MATLAB file (version 7 or older; save it with -v7, not -v7.3)"):
        names = [name for name, _, _ in whosmat(path)]
        loaded = loadmat(path, variable_names=[name for name in names if _is_known(name)])
    return _assemble({name: value for name, value in loaded.items() if _is_known(name)}, names, path)


def _read_torch(path: Path) -> Arrays:
    import torch

    numpy_types = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in (*"?bBhHiIlLqQefd", "U1")}]
    rebuild: list[Any] = [np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]]
    allowed: list[Any] = [*numpy_types, *rebuild]
    for function in rebuild:  # NumPy 1 and 2 call the same module by two names
        allowed += [(function, f"numpy{core}.multiarray.{function.__name__}") for core in (".core", "._core")]
    form = "tensors, arrays, numbers and texts (it holds other objects, which are not opened, or is damaged)"
    try:
        with torch.serialization.safe_globals(allowed):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # PyTorch advises options that this program does not have
        raise InputError(f"feature file {path} cannot be read as {form}") from error
    with _readable(path, form):
        if isinstance(loaded, torch.Tensor):
            features = _matrix(_as_array(loaded), "the tensor", path)
            return Arrays(features, _read_table(path, len(features)))
        if not isinstance(loaded, dict):
            raise InputError(f"{path} holds a {type(loaded).__name__}; expected a tensor, or a dict of tensors by name")
        known = {str(name): _as_array(value) for name, value in loaded.items() if _is_known(str(name))}
        return _assemble(known, [str(name) for name in loaded], path)


ARRAY_READERS: Final[Mapping[str, Callable[[Path], Arrays]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".mat": _read_mat,
    ".pt": _read_torch,
    ".pth": _read_torch,
}


def _is_known(name: str) -> bool:
    return name.lower() in _MEANINGS or name.lower() in _SIDED


def _as_array(value: Any) -> AnyArray:
    """A tensor, an array, or a list of numbers, texts or tensors as one array."""
    if hasattr(value, "detach"):
        value = value.detach()
        return np.asarray((value.float() if value.is_floating_point() else value).numpy())
    if isinstance(value, list | tuple) and value and hasattr(value[0], "detach"):
        return np.stack([_as_array(each) for each in value])
    return np.asarray(value)


def _matrix(values: AnyArray, name: str, path: Path) -> AnyArray:
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name} must be features, numbers (images, dimensions), not {_described(values)}")
    if not len(values) or not values.shape[1]:
        raise InputError(f"feature file {path} has no row: {name} has the shape {values.shape}")
    return values


def _described(values: AnyArray) -> str:
    return f"{values.dtype} of shape {values.shape}"


def _column(values: AnyArray, column: str, name: str, rows: int, path: Path) -> pa.Array:
    """The labels of one kind, (rows,); in MATLAB's files they are a matrix of one row or column."""
    flat = values.reshape(-1)
    if len(flat) == 1 and rows > 1 and flat.dtype.kind == "O":
        flat = np.asarray(flat[0]).reshape(-1)
    if len(flat) != rows:
        raise InputError(f"{path}: {name} has {_described(values)}, but there are {rows} features")
    if flat.dtype.kind == "O":  # cells of MATLAB
        flat = np.asarray([str(np.asarray(cell).reshape(-1)[0]) if np.size(cell) else "" for cell in flat])
    if column in _TEXTS:
        return pa.array([str(value).rstrip() for value in flat.tolist()], pa.string())
    if flat.dtype.kind == "U":
        return pa.array(flat.tolist(), pa.string())
    if flat.dtype.kind not in "biuf":
        raise InputError(f"{path}: {name} must hold whole numbers, not {_described(values)}")
    return pa.array(flat.astype(flat.dtype.newbyteorder("=")))


def _assemble(arrays: Mapping[str, AnyArray], names: Sequence[str], path: Path) -> Arrays:
    """One set of the arrays of a file: of one table, or of queries and gallery apart."""
    sides: dict[str, dict[str, tuple[str, AnyArray]]] = {}
    for name, values in arrays.items():
        side, column = ("", _MEANINGS[name.lower()]) if name.lower() in _MEANINGS else _SIDED[name.lower()]
        twin = sides.setdefault(side, {}).setdefault(column, (name, values))
        if twin[0] != name:
            raise InputError(f"{path}: {twin[0]} and {name} could both be the {column}; leave one out")
    parts = {side: found for side, found in sides.items() if "feature" in found}
    if "" in parts:
        parts = {"": parts[""]}
    if not parts:
        raise InputError(
            f"{path} lacks an array feature, or query_f and gallery_f; it has: {', '.join(names[:20]) or 'nothing'}"
        )
    matrices, tables = [], []
    for side, found in parts.items():
        name, values = found.pop("feature")
        matrices.append(_matrix(values, name, path))
        rows = len(values)
        columns = {
            column: _column(labels, column, label, rows, path) for column, (label, labels) in sorted(found.items())
        }
        if side:
            columns["role"] = pa.array([side] * rows, pa.string())
        tables.append(pa.table(columns))
    widths = sorted({matrix.shape[1] for matrix in matrices})
    if len(widths) > 1:
        raise InputError(f"{path}: features of mixed dimensions: {', '.join(map(str, widths))}")
    features = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
    lacking = {name for table in tables for name in table.column_names if name != "person_id"}
    for name in lacking:
        without = [side for side, table in zip(parts, tables, strict=True) if name not in table.column_names]
        if without:
            raise InputError(f"{path}: the {without[0]} has no {name}, which the other side has")
    return Arrays(features, pa.concat_tables(tables, promote_options="permissive"))


def tables_beside(path: Path) -> list[Path]:
    """The tables beside a file of features alone that can hold its labels, the one that does first."""
    if path.suffix.lower() not in _ALONE:
        return []
    return [place for suffix in TABLES if (place := path.with_suffix(suffix)).is_file()]


def _read_table(path: Path, rows: int) -> pa.Table:
    """The CSV beside an array of features: one line a row of the array, in its order, below the names."""
    place = next(iter(tables_beside(path)), None)
    if place is None:
        name = path.with_suffix(TABLES[0]).name
        raise InputError(
            f"{path} holds features alone: put a table {name} beside it with the columns person_id, role "
            f"(query or gallery) and, where there are any, camera_id, clothes_id, image_id, a line a feature"
        )
    with _readable(place, "a table"):
        with place.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        given = [name.strip().strip('"') for name in re.split(re.escape(delimiter), header.strip("\r\n"))]
        names = [_MEANINGS.get(name.lower(), name) for name in given]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{place}: two columns could be the {twice[0]}; leave one out")
        table = pyarrow.csv.read_csv(
            place,
            read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_TEXTS, pa.string())),
        )
    if table.num_rows != rows:
        raise InputError(f"{place} has {table.num_rows} lines below the names, but {path.name} has {rows} features")
    return table.drop_columns([name for name in table.column_names if name == "feature"])
