"""The file of texts by image: what is made of a good one, and what is said of a bad one."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.training.captions import find_captions, read_captions, wanted_captions
from pipeline.training.settings import AllEncoderSettings
from pipeline.training.term_checks import check_terms

IDS = ["b", "a", "d"]


def table(**columns):
    generator = np.random.default_rng(0)
    made = {
        "image_id": ["a", "b", "c", "d"],
        "clothes": pa.array(generator.standard_normal((4, 5)).tolist(), pa.list_(pa.float32())),
        "identity": pa.FixedSizeListArray.from_arrays(pa.array(generator.standard_normal(12)), 3),
        **columns,
    }
    return pa.table({name: column for name, column in made.items() if column is not None})


def written(folder, **columns):
    pq.write_table(table(**columns), folder / "texts.parquet")
    return folder / "texts.parquet"


def test_rows_are_those_of_the_images_without_their_mean(tmp_path):
    path = written(tmp_path)
    captions = read_captions(path, ("identity", "clothes"), IDS)
    assert captions.sha256 == sha256_of_file(path)
    for about, width in (("clothes", 5), ("identity", 3)):
        values = np.array(table()[about].to_pylist())[[1, 0, 3]]
        rows = [row / np.sqrt((row**2).sum()) for row in values]
        mean = sum(rows) / 3
        expected = [(row - mean) / np.sqrt(((row - mean) ** 2).sum()) for row in rows]
        assert captions.texts[about].shape == (3, width)
        torch.testing.assert_close(captions.texts[about].double(), torch.tensor(np.array(expected)), atol=1e-5, rtol=0)
    assert set(read_captions(path, ("clothes",), IDS).texts) == {"clothes"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"clothes": None},
            r"lacks the column clothes, which the terms need .*; it has: image_id, identity",
        ),
        ({"image_id": None}, "lacks the column image_id"),
        ({"image_id": ["a", "b", "b", "d"]}, "image b has several rows"),
        ({"image_id": ["a", "x", "c", "d"]}, "1 of 3 training images have no row, such as b"),
        ({"image_id": ["a", "b", None, "d"]}, "column image_id has 1 nulls"),
        ({"image_id": [[1], [2], [3], [4]]}, "cannot be read as Parquet"),
        ({"clothes": [[1.0, 2.0], [1.0], [1.0, 3.0], [2.0, 2.0]]}, "mixed dimensions: 1, 2"),
        ({"clothes": [[1.0, 2.0], None, [1.0, 3.0], [2.0, 2.0]]}, "has 1 nulls"),
        ({"clothes": [[], [], [], []]}, "empty lists"),
        ({"clothes": [[1.0], [np.nan], [3.0], [4.0]]}, "1 texts have NaN or infinite values, such as that of b"),
        ({"clothes": [[1.0], [np.inf], [3.0], [4.0]]}, "1 texts have NaN or infinite values, such as that of b"),
        ({"clothes": [[1.0], [0.0], [3.0], [4.0]]}, "1 texts are all zeros, such as that of b"),
        ({"clothes": [[1.0, 2.0]] * 4}, "all texts are the same"),
        ({"clothes": ["a red coat"] * 4}, "must be a list of numbers, not string"),
        ({"clothes": [["red"], ["blue"], ["red"], ["blue"]]}, "values that are no numbers"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, columns, message):
    path = written(tmp_path, **columns)
    with pytest.raises(InputError, match=message) as error:
        read_captions(path, ("identity", "clothes"), IDS)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_files_that_are_none_are_one_line(tmp_path):
    with pytest.raises(InputError, match=r"file of text features not found: .*none\.parquet \(encoder\.captions\)"):
        read_captions(tmp_path / "none.parquet", ("clothes",), IDS)
    path = written(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"", b"PAR1", whole[: len(whole) // 2], whole[:40] + bytes(40) + whole[80:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"texts\.parquet") as error:
            read_captions(path, ("clothes",), IDS)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_captions(tmp_path, ("clothes",), IDS)


def test_columns_of_one_name_are_refused(tmp_path):
    made = table()
    made = made.append_column("clothes", made["clothes"])
    pq.write_table(made, tmp_path / "texts.parquet")
    with pytest.raises(InputError, match="has several columns clothes"):
        read_captions(tmp_path / "texts.parquet", ("clothes",), IDS)


def test_a_row_that_nobody_asks_for_does_not_matter(tmp_path):
    clothes = [[1.0, 0.0], [0.0, 1.0], [float("nan"), 0.0], [1.0, 1.0]]
    assert read_captions(written(tmp_path, clothes=clothes), ("clothes",), IDS).texts["clothes"].isfinite().all()


def test_settings_say_which_texts_are_needed(tmp_path):
    captions = tmp_path / "texts.parquet"
    assert wanted_captions(AllEncoderSettings()) == ()
    assert find_captions(AllEncoderSettings(), IDS) is None
    assert wanted_captions(AllEncoderSettings(method="captions")) == ("identity", "clothes")
    only = AllEncoderSettings(weights={"caption_align": 1.0}, captions=captions)
    assert wanted_captions(only) == ("identity",)
    check_terms(only)
    for settings, message in (
        ({"method": "captions"}, "with image_id and clothes and identity in encoder.captions"),
        ({"captions": captions}, "encoder.captions is given, but no term uses it"),
        ({"method": "captions", "captions": captions, "redress": 0.5}, "would be of other clothes"),
    ):
        with pytest.raises(InputError, match=message):
            check_terms(AllEncoderSettings(**settings))
