"""Batches that a device is asked for one ahead: order, culprits, and faults, with a parser that only says when."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import BadImageError, WorkError
from pipeline.labels import LIP
from pipeline.location import locate
from pipeline.parsing.parser import Launching, Parsing, Taken, as_launching
from pipeline.shards.making.batches import BATCHES_AHEAD
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.faults import WorkerFaultError
from pipeline.shards.making.maker import ShardMaker
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import build_parser
from pipeline.shards.making.writer import ShardEntry

SETTINGS = ShardSettings(parser="tiles", row_group_rows=8, max_pixels=10_000)


class Ahead:
    """Launches the batches of another parser, and remembers when it was asked for what.

    Args:
        parser: The other one.
        launches: What launches raise, by their number.
        takes: The same for the waiting.
    """

    name, scheme = "tiles", LIP

    def __init__(
        self, parser: Any, launches: dict[int, Exception] | None = None, takes: dict[int, Exception] | None = None
    ) -> None:
        self.parser = parser
        self.weights_sha256 = parser.weights_sha256
        self.faults = {"launch": launches or {}, "take": takes or {}}
        self.events: list[tuple[str, int]] = []
        self.alone = 0

    def parse(self, images: Any, paths: Any = None) -> list[Parsing | BadImageError]:
        self.alone += len(images) == 1
        found: list[Parsing | BadImageError] = self.parser.parse(images, paths)
        return found

    def _see(self, what: str, number: int) -> None:
        self.events.append((what, number))
        if number in self.faults[what]:
            raise self.faults[what][number]

    def launch(self, images: Any, paths: Any = None) -> Taken:
        number = sum(what == "launch" for what, _ in self.events)
        self._see("launch", number)

        def take() -> list[Parsing | BadImageError]:
            self._see("take", number)
            return self.parse(images, paths)

        return take


def make(images: Any, parser: Any, path: Path, device: str = "cuda") -> ShardEntry:
    _, provenance = bind_content("tiny", images.manifest, SETTINGS, parser)
    work = WorkSettings(batch_size=3, bucket_batches=2)
    maker = ShardMaker(parser, SETTINGS, provenance, locate(images.folder), work, device)
    (spec,) = plan_shards(images.manifest.num_rows, 512, 64)
    try:
        return maker.make(rows_of(images.manifest, spec), path)
    finally:
        maker.close()


@pytest.fixture
def expected(image_folder: Any, plugin_parser: Path, tmp_path: Path) -> bytes:
    """The shard of the parser alone, which launches nothing."""
    make(image_folder, build_parser(SETTINGS, "cpu"), tmp_path / "part.parquet")
    return (tmp_path / "part.parquet").read_bytes()


@pytest.mark.parametrize(
    ("launches", "takes"),
    [({}, {}), ({1: ValueError("at once")}, {}), ({}, {0: ValueError("late")}), ({2: OSError()}, {3: KeyError(3)})],
)
def test_the_shard_is_that_of_one_batch_at_a_time(
    image_folder: Any, expected: bytes, tmp_path: Path, launches: dict[int, Exception], takes: dict[int, Exception]
) -> None:
    parser = Ahead(build_parser(SETTINGS, "cpu"), launches, takes)
    assert isinstance(parser, Launching)
    make(image_folder, parser, tmp_path / "ahead" / "part.parquet")
    assert (tmp_path / "ahead" / "part.parquet").read_bytes() == expected
    count = sum(what == "launch" for what, _ in parser.events)
    assert count > 10
    for number in set(range(count)) - launches.keys():
        before = parser.events[: parser.events.index(("take", number))]
        assert sum(what == "launch" for what, _ in before) == min(count, number + 1 + BATCHES_AHEAD)
    assert parser.alone >= 3 * len(takes), "the images of a batch that fails are parsed one by one"


def test_on_a_cpu_nothing_is_launched(image_folder: Any, expected: bytes, tmp_path: Path) -> None:
    parser = Ahead(build_parser(SETTINGS, "cpu"))
    make(image_folder, parser, tmp_path / "cpu" / "part.parquet", device="cpu")
    assert parser.events == []
    assert (tmp_path / "cpu" / "part.parquet").read_bytes() == expected


@pytest.mark.parametrize("what", ["launches", "takes"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [(RuntimeError("CUDA error: unspecified"), WorkerFaultError), (WorkError("the folder went away"), WorkError)],
    ids=["device", "work"],
)
def test_what_is_no_images_fault_ends_the_shard_whenever_it_comes(
    image_folder: Any, plugin_parser: Path, tmp_path: Path, what: str, error: Exception, raised: type[Exception]
) -> None:
    parser = Ahead(build_parser(SETTINGS, "cpu"), **{what: {2: error}})
    with pytest.raises(raised, match=str(error)):
        make(image_folder, parser, tmp_path / "shards" / "part.parquet")
    assert list((tmp_path / "shards").iterdir()) == []
    assert parser.alone == 0


def test_a_contract_that_is_broken_late_is_seen(image_folder: Any, plugin_parser: Path, tmp_path: Path) -> None:
    parser = Ahead(build_parser(SETTINGS, "cpu"))
    parser.parse = lambda images, paths: [Parsing(np.zeros((1, 2), np.uint8), 0.5)] * len(images)  # type: ignore[method-assign]
    with pytest.raises(WorkError, match="image's own size"):
        make(image_folder, parser, tmp_path / "part.parquet")


def test_a_parser_that_overrides_parse_alone_is_not_asked_by_the_launch_that_it_inherits() -> None:
    class Other(Ahead):
        def parse(self, images: Any, paths: Any = None) -> list[Parsing | BadImageError]:
            return []

    class Both(Other):
        def launch(self, images: Any, paths: Any = None) -> Taken:
            return list

    tiles = build_parser(SETTINGS, "cpu")
    assert [as_launching(kind(tiles)) is not None for kind in (Ahead, Other, Both)] == [True, False, True]
    assert as_launching(tiles) is None
