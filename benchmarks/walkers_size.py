"""How large must the walkers test set be? Spread of cloth-changing Rank-1 over data seeds, by number of test people.

Nothing is trained: the features are those of the oracle ``visible`` with normal noise of one strength on every number,
so that what is measured is the part of a study's error that comes from the test set (people, outfits, cameras).
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.config import Parameters
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.writer import render_walkers
from pipeline.evaluation.metrics import evaluate
from pipeline.evaluation.protocols import CLOTHES_CHANGING
from pipeline.features.feature_set import FeatureSet, normalise_rows, read_features
from stages import oracle
from stages.console import Console

TRAIN_IDENTITIES = 2
NORMAL_95 = 1.96


def noisy_oracle(seed: int, people: int, noise: float) -> FeatureSet:
    """Features of ``people`` test people of a data seed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = SynthSettings(height=64, train_identities=TRAIN_IDENTITIES, test_identities=people)
        render_walkers(folder / "walkers", settings, seed)
        parameters = Parameters.model_validate({"data": {"root": name}})
        oracle.run(parameters, Console(quiet=True), "visible", folder / "features.parquet")
        items, _ = read_features(folder / "features.parquet")
    moved = items.features + noise * np.random.default_rng(seed).standard_normal(items.features.shape)
    return replace(items, features=normalise_rows(moved.astype(np.float32)))


def measure(sets: Sequence[FeatureSet], people: int, resamples: int) -> tuple[float, float, float]:
    """Mean and deviation over seeds of Rank-1, and the mean of the standard errors that each run's bootstrap gives."""
    found, errors = [], []
    for items in sets:
        entry, _ = evaluate(items.take(items.person_id <= TRAIN_IDENTITIES + people), CLOTHES_CHANGING, resamples, 0)
        low, high = entry["rank1_interval"]
        found.append(entry["rank1"])
        errors.append((high - low) / 2 / NORMAL_95)
    return float(np.mean(found)), float(np.std(found, ddof=1)), float(np.mean(errors))


def main() -> None:
    """Print one table row a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="data seeds, at least 2")
    parser.add_argument("--people", type=int, nargs="+", default=[60, 100, 150, 200, 300], help="test people")
    parser.add_argument("--noise", type=float, default=0.2, help="standard deviation on every number of a feature")
    parser.add_argument("--resamples", type=int, default=500, help="of the bootstrap over people")
    options = parser.parse_args()
    if options.seeds < 2 or min(options.people) < 2:
        parser.error("--seeds and --people must be at least 2")
    torch.set_num_threads(1)
    sets = [noisy_oracle(seed, max(options.people), options.noise) for seed in range(options.seeds)]
    print("| test people | Rank-1, cc | sd over seeds | sd / sqrt(seeds) | standard error of one run, bootstrap |")
    print("|---|---|---|---|---|")
    for people in options.people:
        mean, deviation, within = measure(sets, people, options.resamples)
        error = deviation / np.sqrt(options.seeds)
        print(f"| {people} | {mean:.1f} | {deviation:.1f} | {error:.2f} | {within:.1f} |")


if __name__ == "__main__":
    main()
