"""Training of a very small network: it learns, resumes to the same weights, and writes what it says."""

import json
import shutil
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from lite_samples import SMALL

from pipeline.labels import LIP
from pipeline.parsing.lite.backend import LiteParser
from pipeline.parsing.lite.training.augment import Augmentation
from pipeline.parsing.lite.training.batches import BatchMaker
from pipeline.parsing.lite.training.card import model_card
from pipeline.parsing.lite.training.examples import read_walkers
from pipeline.parsing.lite.training.recipe import read_parser_data
from pipeline.parsing.lite.training.scoring import score
from pipeline.parsing.lite.training.train import LiteTask, Schedule, parameter_groups, train_lite
from pipeline.parsing.parser import Parsing
from pipeline.parsing.scoring.evaluation import Scores, milliseconds_per_image, timed_on
from pipeline.trainer.states import ResumeSettings

GENTLE = Augmentation().times(0)


def batches_of(walkers_folder, **changes):
    walkers = changes.pop("walkers", None)
    photos = read_walkers(walkers_folder, ["train"])
    settings = {"walkers_share": 0.5, "batch_size": 5, "seed": 1, "augmentation": GENTLE, **changes}
    return BatchMaker(photos, photos if walkers is None else walkers, **settings)


def test_training_lowers_the_loss_and_learns_the_picture(walkers_folder):
    torch.manual_seed(0)
    walkers = read_walkers(walkers_folder, ["train"])
    schedule = Schedule(20, learning_rate=2e-2, small_share=0.0, average_epochs=1.0)
    network = SMALL.build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # so few steps are too few for statistics to settle otherwise
            module.momentum = 0.2
    network, curves = train_lite(network, batches_of(walkers_folder), schedule, SMALL.size, quiet=True)
    assert curves[-1]["total"] < 0.5 * curves[0]["total"]
    assert score(LiteParser(network, SMALL.size), walkers).clothes_iou > 0.6


class StopError(Exception):
    pass


def test_an_interrupted_run_ends_with_the_same_weights(walkers_folder, tmp_path):
    def train(report=None):
        torch.manual_seed(0)
        resume = ResumeSettings(tmp_path / "state", "same", seconds=0.0)
        return train_lite(
            SMALL.build(), batches_of(walkers_folder), Schedule(4), SMALL.size, report=report, resume=resume, quiet=True
        )[0].state_dict()

    def stop(epoch, _):
        if epoch == 3:
            raise StopError

    with pytest.raises(StopError):
        train(stop)
    resumed = train()
    shutil.rmtree(tmp_path / "state")
    whole = train()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_rate_rises_and_falls():
    schedule = Schedule(10, learning_rate=0.5)
    rates = [schedule.rate_at(epoch / 10) for epoch in range(101)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[10] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0005)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_the_first_epochs_are_small():
    schedule = Schedule(10, small_share=0.3)
    assert [schedule.size_in(epoch, (256, 128)) for epoch in (0, 2, 3, 9)] == [(192, 96)] * 2 + [(256, 128)] * 2
    assert schedule.size_in(0, (64, 32)) == (64, 32)


def test_the_last_epochs_are_mild(walkers_folder):
    schedule = Schedule(10, mild_share=0.2)
    assert [schedule.strength_in(epoch) for epoch in (0, 7, 8, 9)] == [1.0, 1.0, 0.5, 0.5]
    assert Augmentation(background=0.4, degrade=1.0).times(0.5).background == 0.2
    # at strength 0 nothing is left but crop and flip, whatever the settings are
    strong = batches_of(walkers_folder, walkers_share=0.0, walkers=[], augmentation=Augmentation())
    gentle = batches_of(walkers_folder, walkers_share=0.0, walkers=[])
    for first, second in zip(strong.epoch(1, (64, 32), 0.0), gentle.epoch(1, (64, 32)), strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


def test_the_encoder_learns_at_its_own_rate():
    network = SMALL.build()
    groups = parameter_groups(network, Schedule(3, encoder_rate=0.25, weight_decay=0.1))
    seen = {}
    for group in groups:
        for parameter in group["params"]:
            assert id(parameter) not in seen
            seen[id(parameter)] = (group["rate_factor"], group["weight_decay"])
    assert len(seen) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        assert seen[id(parameter)] == (
            0.25 if name.startswith("encoder.") else 1.0,
            0.1 if parameter.ndim > 1 else 0.0,
        )


def test_running_mean_agrees_with_a_loop():
    torch.manual_seed(0)
    task = LiteTask(SMALL.build(), "float32")
    weight = task.network.get_parameter("head.bias")
    expected = weight.detach().clone().double()
    for step in range(1, 40):
        with torch.no_grad():
            weight.add_(0.1)
        task.average(0.7)
        decay = min(0.7, step / (step + 10))
        expected = decay * expected + (1 - decay) * weight.detach().double()
    torch.testing.assert_close(task.averaged.get_parameter("head.bias").double(), expected, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in task.averaged.parameters())


class Oracle:
    """Gives back prepared label maps, one an image."""

    name, scheme, weights_sha256 = "oracle", LIP, ""

    def __init__(self, maps):
        self.maps = iter(maps)

    def parse(self, images, paths=None):
        return [Parsing(next(self.maps), 1.0) for _ in images]


def test_scores_of_a_perfect_and_of_a_blind_parser(walkers_folder):
    walkers = read_walkers(walkers_folder, ["query"])
    perfect = score(Oracle([walker.target for walker in walkers]), walkers)
    assert perfect.clothes_iou == perfect.mean_iou == perfect.pixel_accuracy == 1.0
    assert set(perfect.class_iou) == {"background", "face", "upper-clothes", "pants"}
    blind = score(Oracle([np.zeros_like(walker.target) for walker in walkers]), walkers)
    assert blind.clothes_iou == 0.0
    assert blind.class_iou["background"] == pytest.approx((walkers[0].target == 0).mean())
    with pytest.raises(ValueError, match="no examples"):
        score(Oracle([]), [])


def test_timing_leaves_the_threads_as_they_were():
    parser = LiteParser(SMALL.build(), SMALL.size)
    threads = torch.get_num_threads()
    assert milliseconds_per_image(parser, [np.zeros((64, 32, 3), np.uint8)], repeats=1) > 0
    assert torch.get_num_threads() == threads


def test_a_gpu_is_timed_by_the_clock_on_the_wall_and_named(monkeypatch):
    """Its work takes no processor time; a sleep takes none either."""

    class Sleeper:
        def parse(self, images):
            time.sleep(0.03)

    assert milliseconds_per_image(Sleeper(), [None] * 3, repeats=1, device="cuda:1") >= 10
    assert milliseconds_per_image(Sleeper(), [None] * 3, repeats=1) < 10
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    assert (timed_on("cuda:1"), timed_on("cpu")) == ("one card cuda:1", "one core")


def test_data_are_read_for_both_kinds(ccp_folder, walkers_folder):
    data = read_parser_data(ccp_folder, walkers_folder)
    assert (len(data.photos), len(data.walkers)) == (4, 5)
    assert {name: len(examples) for name, examples in data.held_out.items()} == {
        "photographs 256x128": 2, "photographs 128x64": 2, "photographs 128x48": 2, "walkers": 4,
    }  # fmt: skip
    assert data.held_out["photographs 128x48"][0].image.shape == (128, 48, 3)


def test_the_card_says_what_was_measured():
    scores = Scores(7, 0.8125, 0.75, 0.9, 0.5, {"background": 0.99, "skirt": 0.25}, 1.0)
    description = SMALL.__class__(training={"photos": 11, "walkers": 0, "seed": 3, "init": {"from": "imagenet"}})
    card = model_card({"photographs": scores}, description, 1_234_567, {"one at a time": 25.4})
    for text in (
        "1.23 million", "25 ms an image", "of which 11 were", "Walkers: none", "Apache-2.0", "256 x 128",
        "was trained on ImageNet",
        "| photographs | 7 | 0.812 | 0.750 | 0.900 | 0.500 |", "| skirt | 0.250 |", "| dress | - |", '"seed": 3',
    ):  # fmt: skip
        assert text in card
    assert "25 ms an image on one core, one at a time" in card
    card = model_card({"w": scores}, description, 1, {"in batches of 16": 0.42}, "one card")
    assert "0.4 ms an image on one card, in batches of 16" in card
    assert "one core" not in card
    rendered = SMALL.__class__(training={"photos": 11, "walkers": 40, "init": {"from": "random"}})
    assert "Walkers: 40 images rendered" in model_card({"w": scores}, rendered, 1, {})
    assert "Crops without labels: none" in card
    taught = SMALL.__class__(training={**rendered.training, "unlabelled": {"crops": 12}})
    assert "Crops without labels: 12, with labels on which" in model_card({"w": scores}, taught, 1, {})
    later = SMALL.__class__(training={**rendered.training, "init": {"from": "weights", "sha256": "ab12"}})
    card = model_card({"w": scores}, later, 1, {})
    assert "weights of an earlier run, see below" in card
    assert "SHA-256 `ab12`" in card
    assert json.dumps(scores.as_dict())
