"""Hostile inputs: ``make test-hostile``, or ``pytest -m hostile tests/hostile``. An ordinary run leaves them out.

Generators with fixed seeds spoil every field of every artifact, images, feature files and YAML. Each attempt must end
in one of two ways: the input is taken, or it is refused with exit code 2 and one line. Everything else is lost; lost
must be none. The table of all attempts is printed at the end.
"""

from pathlib import Path

import pytest
import yaml
from hostile_samples import Place, Tally, figure_rows

from pipeline.shards.making.rows import write_rows
from pipeline.shards.making.writer import QuarantineRow
from stages.cli import run

FOLDER = Path(__file__).parent
_TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    own = [item for item in items if FOLDER in item.path.parents]
    for item in own:
        item.add_marker("hostile")
    if own and "hostile" not in config.getoption("markexpr"):
        items[:] = [item for item in items if item not in own]
        config.hook.pytest_deselected(items=own)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash[_TALLY]
    if tally.counts:
        terminalreporter.write_line(tally.table())


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts of all attempts, by kind of input."""
    return request.config.stash[_TALLY]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_clip_config: Path) -> Place:
    """A tiny data set with all its artifacts, made by the commands in their order."""
    folder = tmp_path_factory.mktemp("whole")
    facts = {
        "name": "figures", "title": "Figures", "reader": "custom", "home": "tests", "access": "made by the tests",
        "terms": "none", "layout": "table.csv", "markers": ["table.csv"],
        "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]}, "protocols": ["general", "cc"],
        "settings": {"table": "table.csv", "columns": {"path": "path", "split": "split", "person_id": "person_id"}},
    }  # fmt: skip
    (folder / "figures.yaml").write_text(yaml.safe_dump(facts))
    params = {
        "device": "cpu",
        "threads": 1,
        "data": {"dataset": str(folder / "figures.yaml")},
        "model": {"name": str(tiny_clip_config), "pretrained": None, "image_size": [64, 32]},
        "prompts": {"epochs": 1, "tokens": 2, "batch_size": 16, "similarity": "cosine"},
        "encoder": {"epochs": 1, "identities_per_batch": 2, "images_per_identity": 2, "pad": 2},
        "evaluate": {"bootstrap": 0},
        "loading": {"pixels": "never"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    place = Place(folder)
    bad = QuarantineRow("train/bad.png", "bad.png", "missing", "no file")
    write_rows(place.shards, "figures", figure_rows(), [bad], parser="truth", row_group_rows=8, shards=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in (["train"], ["extract"], ["evaluate"]):
            assert run([*words, "--params", "params.yaml", "--quiet"]) == 0
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy to be spoiled; the working folder."""
    monkeypatch.chdir(tmp_path)
    return made.copy(tmp_path)
