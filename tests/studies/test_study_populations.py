"""Walkers of a study: seeds of the table, of tuning and of the CLIP give other people, clothes and images."""

from dataclasses import astuple

import pytest

from pipeline.datasets.walkers.population import plan_pretraining, plan_walkers
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.studies.reading import load_study


@pytest.fixture(scope="module")
def populations():
    """By population: people as values of every factor and measure."""
    study = load_study("walkers")
    found: dict[str, list] = {}
    for seed in (*study.seeds, *study.tuning.seeds):
        shots = plan_walkers(SynthSettings(train_identities=30, test_identities=30), seed)
        for split in ("train", "test"):
            people = {s.person_id: s.identity for s in shots if (s.split == "train") == (split == "train")}
            found[f"seed {seed} {split}"] = list(people.values())
    found["CLIP"] = [plan_pretraining(study.clip_seed, index).identity for index in range(300)]
    return found


def test_nobody_is_in_two_populations(populations):
    everybody = [repr(astuple(person)) for people in populations.values() for person in people]
    assert len(everybody) == 12 * 30 + 300
    assert len(set(everybody)) == len(everybody)
