"""Features as other people's code writes them: every form gives the same set, and none is unpickled."""

import pickle
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch

from pipeline.errors import InputError
from pipeline.features.feature_set import FeatureSet, normalise_rows, read_features

RNG = np.random.default_rng(5)
FEATURES = RNG.standard_normal((7, 4)).astype(np.float32)
ROLE = ["query"] * 3 + ["gallery"] * 4
PERSON, CAMERA = [1, 2, 3, 1, 2, 3, -1], [1, 1, 1, 2, 2, 2, 2]
CLOTHES = [10, 20, 30, 11, 20, 31, 40]
NAMES = [f"0{number}.jpg" for number in range(7)]
SIDES = {"query": slice(0, 3), "gallery": slice(3, 7)}


def check(found: FeatureSet, names=True, clothes=True) -> None:
    np.testing.assert_array_equal(found.features, normalise_rows(FEATURES))
    assert (found.role.tolist(), found.person_id.tolist(), found.camera_id.tolist()) == (ROLE, PERSON, CAMERA)
    assert found.image_id.tolist() == (NAMES if names else [""] * 7)
    assert found.clothes_id.tolist() == (CLOTHES if clothes else [-1] * 7)
    assert {len(getattr(found, field.name)) for field in fields(found)} == {7}


def table(feature=None, rows=slice(0, 7), role=True) -> pa.Table:
    columns = {
        "image_id": NAMES[rows],
        "role": ROLE[rows],
        "person_id": PERSON[rows],
        "camera_id": CAMERA[rows],
        "clothes_id": CLOTHES[rows],
        "feature": FEATURES[rows].tolist() if feature is None else feature,
    }
    return pa.table({name: values for name, values in columns.items() if role or name != "role"})


def sided(features="{}_f", person="{}_label", camera="{}_cam", clothes="{}_clothes", sides=("query", "gallery")):
    arrays = {}
    for side, (_, rows) in zip(sides, SIDES.items(), strict=True):
        arrays[features.format(side)] = FEATURES[rows]
        arrays[person.format(side)] = np.array(PERSON[rows])
        arrays[camera.format(side)] = np.array(CAMERA[rows])
        arrays[clothes.format(side)] = np.array(CLOTHES[rows])
    return arrays


def test_a_folder_of_parquet_is_read_by_name(tmp_path):
    folder = tmp_path / "features.parquet"  # a folder of this name, as Spark makes it
    folder.mkdir()
    pq.write_table(table(rows=slice(0, 2)), folder / "part-0.parquet")
    pq.write_table(table(rows=slice(0, 0)), folder / "part-1.parquet")
    nulls = table(rows=slice(2, 7))
    pq.write_table(nulls, folder / "part-2.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / "_temporary").mkdir()
    pq.write_table(table(), folder / "_temporary" / "part-9.parquet")
    check(read_features(folder)[0])
    pq.write_table(table().drop_columns("feature"), folder / "part-3.parquet")
    with pytest.raises(InputError, match="only one of them has the column feature"):
        read_features(folder)


def test_columns_may_stand_in_the_names_of_folders(tmp_path):
    for side, rows in reversed(SIDES.items()):
        (tmp_path / f"role={side}").mkdir()
        pq.write_table(table(rows=rows, role=False), tmp_path / f"role={side}" / "0.parquet")
    found = read_features(tmp_path)[0]  # gallery comes before query
    check(found.take(np.array([4, 5, 6, 0, 1, 2, 3])))


def test_many_files_are_not_open_at_once(tmp_path):
    for number in range(7):
        pq.write_table(table(rows=slice(number, number + 1)), tmp_path / f"{number}.parquet")
    code = (
        "import resource, sys; from pathlib import Path; from pipeline.features.feature_set import read_features\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path('/proc/self/fd').iterdir())) + 4,) * 2)\n"
        "print(len(read_features(Path(sys.argv[1]))[0]))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert found.stdout == "7\n"


RAY = """
import sys
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ray.data.extensions import ArrowTensorArray, ArrowVariableShapedTensorArray
features = np.load(sys.argv[1])
for kind, column in (
    ("tensors", ArrowTensorArray.from_numpy(features)),
    ("doubles", ArrowTensorArray.from_numpy(features.astype(np.float64))),
    ("several", ArrowVariableShapedTensorArray.from_numpy([row for row in features])),
):
    table = pq.read_table(sys.argv[2]).drop_columns("feature").append_column("feature", column)
    pq.write_table(table, f"{sys.argv[3]}/{kind}.parquet")
"""


@pytest.fixture(scope="module")
def ray_folder(tmp_path_factory):
    """Files with tensor columns that Ray Data itself made, in a process of its own."""
    folder = tmp_path_factory.mktemp("ray")
    np.save(folder / "features.npy", FEATURES)
    pq.write_table(table(), folder / "plain")
    files = map(str, (folder / "features.npy", folder / "plain", folder))
    subprocess.run([sys.executable, "-c", RAY, *files], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("kind", ["tensors", "doubles", "several"])
def test_tensor_columns_of_ray_data_are_lists(ray_folder, kind):
    check(read_features(ray_folder / f"{kind}.parquet")[0])


def test_tensor_columns_of_ray_data_are_read_without_it(ray_folder):
    """In a process of its own: what Ray Data would run to understand its own types is not run."""
    paths = [str(ray_folder / f"{kind}.parquet") for kind in ("tensors", "doubles", "several")]
    program = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from pipeline.features.feature_set import read_features
for path in map(Path, sys.argv[1:]):
    assert b"ray.data." in pq.read_schema(path).field("feature").metadata[b"ARROW:extension:name"]
    print(read_features(path)[0].features.shape)
assert "ray.data" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{FEATURES.shape}\n" * 3


def test_tensor_columns_of_arrow_and_half_floats_are_lists(tmp_path):
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(FEATURES)
    pq.write_table(table(tensors), tmp_path / "f.parquet")
    check(read_features(tmp_path / "f.parquet")[0])
    halves = pa.FixedSizeListArray.from_arrays(pa.array(FEATURES.astype(np.float16).ravel()), 4)
    pq.write_table(table(halves), tmp_path / "h.parquet")
    found = read_features(tmp_path / "h.parquet")[0].features
    np.testing.assert_array_equal(found, normalise_rows(FEATURES.astype(np.float16).astype(np.float32)))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_an_array_has_its_table_beside_it(tmp_path, delimiter):
    lines = [delimiter.join(("path", "Split", "pid", "camid", "clothes_id", "note"))]
    lines += [
        delimiter.join(map(str, row)) for row in zip(NAMES, ROLE, PERSON, CAMERA, CLOTHES, "abcdefg", strict=True)
    ]
    (tmp_path / "f.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    np.save(tmp_path / "f.npy", FEATURES)
    check(read_features(tmp_path / "f.npy")[0])
    np.save(tmp_path / "f.npy", np.asfortranarray(FEATURES.astype(">f8")))
    check(read_features(tmp_path / "f.npy")[0])
    torch.save(torch.from_numpy(FEATURES), tmp_path / "f.pt")
    check(read_features(tmp_path / "f.pt")[0])
    np.save(tmp_path / "f.npy", FEATURES[:5])
    with pytest.raises(InputError, match=r"f\.csv has 7 lines below the names, but f\.npy has 5 features"):
        read_features(tmp_path / "f.npy")
    (tmp_path / "f.csv").unlink()
    with pytest.raises(InputError, match=r"put a table f\.csv beside it with the columns person_id, role"):
        read_features(tmp_path / "f.npy")


def test_names_of_digits_stay_texts(tmp_path):
    np.save(tmp_path / "f.npy", FEATURES[:2])
    (tmp_path / "f.csv").write_text("image_id,role,person_id,camera_id\n001,query,0003,1\n01,gallery,3,\n")
    found = read_features(tmp_path / "f.npy")[0]
    assert (found.image_id.tolist(), found.person_id.tolist()) == (["001", "01"], [3, 3])
    assert found.camera_id.tolist() == [1, -1]


def test_the_results_of_the_market_baselines_are_read(tmp_path):
    arrays = sided()
    del arrays["query_clothes"], arrays["gallery_clothes"]
    arrays |= {"mquery_f": FEATURES, "mquery_label": PERSON, "mquery_cam": CAMERA}
    scipy.io.savemat(tmp_path / "pytorch_result.mat", arrays)  # labels become matrices of one row
    assert scipy.io.loadmat(tmp_path / "pytorch_result.mat")["gallery_label"].shape == (1, 4)
    check(read_features(tmp_path / "pytorch_result.mat")[0], names=False, clothes=False)


def test_one_table_in_matlab_with_cells_of_names(tmp_path):
    cells = np.array(NAMES, dtype=object)
    doubles = {"person_id": np.array(PERSON, float), "camera_id": np.array(CAMERA, float)[:, None]}
    scipy.io.savemat(
        tmp_path / "f.mat",
        {"feature": FEATURES, **doubles, "clothes_id": CLOTHES, "image_id": cells, "role": np.array(ROLE)},
    )
    check(read_features(tmp_path / "f.mat")[0])


@pytest.mark.parametrize("names", [
    {},
    {"features": "{}f", "person": "{}_pids", "camera": "{}_camids", "clothes": "{}_clothes_ids", "sides": ("q", "g")},
    {"features": "{}_features", "person": "{}_person_ids", "camera": "{}_camera_ids", "clothes": "{}_clothes_id"},
])  # fmt: skip
def test_arrays_of_two_sides_in_the_names_that_are_used(tmp_path, names):
    arrays = sided(**names)
    np.savez(tmp_path / "f.npz", **arrays)
    check(read_features(tmp_path / "f.npz")[0], names=False)
    torch.save({name: torch.from_numpy(values) for name, values in arrays.items()}, tmp_path / "f.pth")
    check(read_features(tmp_path / "f.pth")[0], names=False)
    mixed = {name: values.tolist() if values.ndim == 1 else values for name, values in arrays.items()}
    torch.save({**mixed, "epoch": 3, "q_paths": NAMES[:3], "g_paths": NAMES[3:]}, tmp_path / "n.pt")  # NumPy's, lists
    check(read_features(tmp_path / "n.pt")[0])


def test_one_side_alone_gets_its_role(tmp_path):
    torch.save({"features": torch.from_numpy(FEATURES), "pids": PERSON, "camids": CAMERA}, tmp_path / "f.pt")
    assert set(read_features(tmp_path / "f.pt", "gallery")[0].role) == {"gallery"}
    with pytest.raises(InputError, match="lacks a column role"):
        read_features(tmp_path / "f.pt")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_nothing_is_unpickled(tmp_path):
    for name in ("f.pkl", "f.pickle"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(InputError, match=f"{name} is a pickle, which may run any code"):
            read_features(tmp_path / name)
    torch.save({"feature": torch.ones(2, 2), "person_id": Bomb()}, tmp_path / "f.pt")
    with pytest.raises(InputError, match=r"f\.pt cannot be read as tensors, arrays, numbers and texts") as caught:
        read_features(tmp_path / "f.pt")
    assert "weights_only" not in str(caught.value)
    np.save(tmp_path / "f.npy", np.array([[Bomb()]], dtype=object))
    np.savez(tmp_path / "f.npz", feature=np.array([[Bomb()]], dtype=object))
    for name in ("f.npy", "f.npz"):
        with pytest.raises(InputError, match=r"cannot be read as .*without objects"):
            read_features(tmp_path / name)


@pytest.mark.parametrize(("arrays", "message"), [
    ({"other": FEATURES}, r"lacks an array feature, or query_f and gallery_f; it has: other"),
    ({"feature": FEATURES[0], "pids": PERSON}, r"feature must be features, numbers .* not float32 of shape \(4,\)"),
    ({"feature": FEATURES, "pids": PERSON[:3]}, "pids has int64 of shape .3,., but there are 7 features"),
    ({"feature": FEATURES, "pids": PERSON, "label": PERSON}, "could both be the person_id; leave one out"),
    ({"feature": FEATURES[:0], "pids": []}, "has no row"),
    ({"query_f": FEATURES[:3], "gallery_f": FEATURES[3:, :2]}, "mixed dimensions: 2, 4"),
    ({"qf": FEATURES, "gf": FEATURES, "q_cam": CAMERA}, "the gallery has no camera_id, which the other side has"),
    ({"feature": FEATURES, "pids": np.array(PERSON) + 0.5, "role": ROLE}, "person_id must hold whole numbers"),
    ({"feature": FEATURES * np.nan, "pids": PERSON, "role": ROLE}, "NaN or infinite values; the first is row 0"),
    ({"feature": FEATURES.astype(float) * 1e300, "pids": PERSON, "role": ROLE}, "NaN or infinite values"),
])  # fmt: skip
def test_wrong_arrays_are_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_features(tmp_path / "f.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["f.npy", "f.npz", "f.mat", "f.pt"])
def test_damaged_and_missing_files_are_one_line(tmp_path, name):
    with pytest.raises(InputError, match="feature file not found"):
        read_features(tmp_path / name)
    for data in (
        b"",
        b"rubbish" * 30,
        b"PK\3\4" + b"\0" * 50,
        b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\0\2IM" + b"x" * 9,
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as caught:
            read_features(tmp_path / name)
        assert "\n" not in str(caught.value)
