"""What a page says under a picture: which image it is, of whom, by which camera, in which clothes."""

from dataclasses import dataclass

from pipeline.shards.reader import NO_ID, ShardIds


@dataclass(frozen=True)
class ImageCard:
    """Names of one image; None where the data set has no such id."""

    image_id: str
    split: str
    person_id: int
    camera_id: int | None
    clothes_id: int | None

    @property
    def lines(self) -> tuple[str, ...]:
        """The ids that there are, in words."""
        ids = (("person", self.person_id), ("camera", self.camera_id), ("clothes", self.clothes_id))
        return tuple(f"{name} {value}" for name, value in ids if value is not None)

    @property
    def text(self) -> str:
        """All ids in one line."""
        return ", ".join(self.lines)


def _known(value: int) -> int | None:
    return None if value == NO_ID else int(value)


def image_card(ids: ShardIds, index: int) -> ImageCard:
    """The card of the image with an index in the shards."""
    return ImageCard(
        image_id=str(ids.image_id[index]),
        split=str(ids.split[index]),
        person_id=int(ids.person_id[index]),
        camera_id=_known(ids.camera_id[index]),
        clothes_id=_known(ids.clothes_id[index]),
    )
