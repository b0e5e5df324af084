"""The one builder of features against plain loops over torch, on shards and on images from elsewhere."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.datasets.catalog import DatasetFacts
from pipeline.features.builder import FeatureImages, build_features, images_of_shards, made_of, open_raw_store
from pipeline.features.encoders import ChosenEncoder, frozen_encoder
from pipeline.features.feature_set import NO_ID, feature_table, read_features, write_features
from pipeline.features.rows import feature_rows, training_rows
from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import ModelSettings
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
PLAIN = FeatureSettings()


@pytest.fixture
def model(tiny_clip_config) -> ModelSettings:
    return ModelSettings(
        name=str(tiny_clip_config), pretrained=None, image_size=(64, 32), pixel_mean=MEAN, pixel_std=STD
    )


@pytest.fixture
def chosen(model) -> ChosenEncoder:
    return frozen_encoder(model, seed=5)


@pytest.fixture(scope="module")
def reader(picture_shards) -> ShardReader:
    return ShardReader(picture_shards)


@pytest.fixture(scope="module")
def facts() -> DatasetFacts:
    return DatasetFacts.model_validate({
        "name": "pictures", "title": "Pictures", "reader": "walkers", "home": "tests", "access": "", "terms": "",
        "layout": "", "markers": ["x"], "roles": {"train": ["train"], "query": ["query"]}, "protocols": ["general"],
    })  # fmt: skip


def expected(encoder: torch.nn.Module, images: Tensor, cameras: list[int], settings: FeatureSettings) -> np.ndarray:
    """Image by image, from pixels (N, H, W, 3); no function of the package but the encoder."""
    rows = []
    encoder.eval()
    for image, camera in zip(images, cameras, strict=True):
        pixels = (image.permute(2, 0, 1)[None].float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
            :, None, None
        ]
        found = []
        for view in (pixels, pixels.flip(3)) if settings.flip else (pixels,):
            with torch.no_grad():
                features = encoder(view, torch.tensor([camera]))
            parts = [features.projected] if settings.feature == "projected" else [features.hidden, features.projected]
            found.append(torch.cat(parts, dim=1))
        rows.append(F.normalize(torch.stack(found).mean(dim=0), dim=1)[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("scale", [0.0, 3.0])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("feature", ["concat", "projected"])
def test_features_of_shards_are_those_of_a_plain_loop(chosen, reader, facts, scale, flip, feature):
    encoder = chosen.encoder
    if scale:
        encoder.add_cameras(torch.tensor([1, 2]), scale, torch.Generator().manual_seed(0))
        encoder.camera_embedding.weight.data *= 20
    settings = FeatureSettings(feature=feature, flip=flip, batch_size=5)
    rows = feature_rows(reader, facts, ["query", "train"])
    store = open_raw_store(chosen.spec, reader, rows, LoadingSettings())
    items = build_features(encoder, chosen.spec, images_of_shards(reader, rows, store), settings)
    cameras = reader.ids.camera_id[rows.index].tolist()
    assert NO_ID in cameras
    assert np.allclose(items.features, expected(encoder, store.raw(rows.index), cameras, settings), atol=1e-5)
    assert items.image_id.tolist() == reader.ids.image_id[rows.index].tolist()
    assert items.role.tolist() == reader.ids.split[rows.index].tolist()
    assert items.camera_id.tolist() == cameras
    if scale:
        others = expected(encoder, store.raw(rows.index), [1] * len(cameras), settings)
        assert not np.allclose(items.features, others, atol=1e-3)


def test_images_need_no_shards(chosen):
    pixels = torch.randint(0, 256, (3, 64, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    none = np.full(3, NO_ID, dtype=np.int64)
    names = np.array(["a.png", "b.png", "c.png"])
    images = FeatureImages(lambda rows: pixels[list(rows)], names, np.full(3, "gallery"), none, none, none, none)
    items = build_features(chosen.encoder, chosen.spec, images, FeatureSettings(batch_size=2))
    assert np.allclose(items.features, expected(chosen.encoder, pixels, [NO_ID] * 3, PLAIN), atol=1e-5)
    assert feature_table(items)["camera_id"].null_count == 3


def test_what_is_scored_in_memory_is_what_a_file_gives_to_the_last_bit(chosen, reader, facts, tmp_path):
    rows = feature_rows(reader, facts, ["query"])
    store = open_raw_store(chosen.spec, reader, rows, LoadingSettings())
    items = build_features(chosen.encoder, chosen.spec, images_of_shards(reader, rows, store), PLAIN)
    write_features(tmp_path / "f.parquet", feature_table(items), made_of(chosen, reader, PLAIN))
    read, metadata = read_features(tmp_path / "f.parquet")
    assert metadata == made_of(chosen, reader, PLAIN)
    for name, values in vars(items.normalised()).items():
        assert getattr(read, name).tolist() == values.tolist(), name
    written = pq.read_table(tmp_path / "f.parquet")["feature"].to_pylist()
    assert written == items.features.tolist()


def test_features_are_known_again_by_all_that_decides_them(model, chosen, reader):
    same = made_of(frozen_encoder(model, seed=5), reader, PLAIN)
    assert made_of(chosen, reader, PLAIN) == same
    assert made_of(chosen, reader, FeatureSettings(batch_size=3)) == same
    others = [made_of(chosen, reader, FeatureSettings(flip=True))]
    others.append(made_of(chosen, reader, FeatureSettings(feature="projected")))
    for change in ({"image_size": (32, 32)}, {"pixel_mean": (0.5, 0.5, 0.5)}, {"stride": 8}):
        others.append(made_of(frozen_encoder(model.model_copy(update=change), seed=5), reader, PLAIN))
    for scale in (1.0, 2.0):
        encoder = frozen_encoder(model, seed=5)
        encoder.encoder.add_cameras(torch.tensor([1, 2]), scale)
        others.append(made_of(encoder, reader, PLAIN))
    told_apart = [tuple(sorted(item.items())) for item in [same, *others]]
    assert len(set(told_apart)) == len(told_apart)


def test_training_rows_are_people_of_the_training_splits(reader, facts):
    rows = training_rows(reader, facts)
    assert {reader.ids.split[row] for row in rows} == {"train"}
    assert len(rows) == (reader.ids.split == "train").sum()
    dressed = training_rows(reader, facts, drop_without_clothes=True)
    assert dressed.tolist() == [row for row in rows if reader.ids.clothes_fraction[row] > 0]
