"""The parser ``detectron2``: its settings, and the parser protocol around a network of the library."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from pipeline.errors import BadImageError, InputError
from pipeline.images import RgbImage
from pipeline.labels import LabelScheme
from pipeline.parsing.detectron2.classes import PRESETS, ClassMap, load_preset, map_classes
from pipeline.parsing.detectron2.compat import require_library
from pipeline.parsing.detectron2.painting import label_semantic
from pipeline.parsing.forward import check_images
from pipeline.parsing.instances import PersonMode, parse_instances, restricted
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.settings import SettingsGroup

if TYPE_CHECKING:
    from pipeline.parsing.detectron2.network import Detectron2Network

SMALLEST_SIZE: Final = 32


class Detectron2Parser:
    """Parses with a network of the library.

    Images go through the network one by one: in a batch the library pads them to a common size, and the label map of an
    image must not depend on those that came along. Only a semantic head on a GPU takes several at once, of one size.

    Args:
        network: The network and its head.
        classes: What its classes mean.
        score_threshold: Instances whose score is not above it are left out.
        person_mode: ``union`` keeps everything; ``central`` keeps the person around the image's centre.
        person_class: Number of the class whose instances are whole persons, for ``central``; None: people are told
            apart by the gaps between them.
        batch_size: Images of one size in one forward.
    """

    name = "detectron2"

    def __init__(
        self,
        network: "Detectron2Network",
        classes: ClassMap,
        score_threshold: float = 0.5,
        person_mode: PersonMode = "union",
        person_class: int | None = None,
        batch_size: int = 1,
    ) -> None:
        self._network = network
        self._classes = classes
        self._score_threshold = score_threshold
        self._person_mode = person_mode
        self._person_class = person_class
        self._batch_size = batch_size

    @property
    def scheme(self) -> LabelScheme:
        """The scheme that classes are mapped to."""
        return self._classes.scheme

    @property
    def weights_sha256(self) -> str:
        """Hash of configuration and weights."""
        return self._network.sha256

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse RGB uint8 images of any sizes.

        Raises:
            ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
        """
        check_images(images)
        if self._network.head == "instances":
            return [self._parse_instances(image) for image in images]
        parsings: list[Parsing | BadImageError] = []
        for group in groups_of_one_size(images, self._batch_size):
            for image, logits in zip(group, self._network.logits(group, self._batch_size), strict=True):
                painting = label_semantic(logits, self._classes.targets, (image.shape[0], image.shape[1]))
                parsings.append(restricted(painting, self._person_mode))
        return parsings

    def _parse_instances(self, image: RgbImage) -> Parsing:
        return parse_instances(
            self._network.instances(image),
            self._classes.targets,
            (image.shape[0], image.shape[1]),
            self._score_threshold,
            self._person_mode,
            self._person_class,
        )


def groups_of_one_size(images: Sequence[RgbImage], limit: int) -> Iterator[list[RgbImage]]:
    """Cut a sequence into runs of images of one size, each of ``limit`` images at the most, in their order."""
    group: list[RgbImage] = []
    for image in images:
        if group and (len(group) == limit or image.shape != group[0].shape):
            yield group
            group = []
        group.append(image)
    if group:
        yield group


class Detectron2Settings(SettingsGroup):
    """Settings of the parser ``detectron2``."""

    preset: str | None = Field(None, description="classes of a public data set: see the presets; null: as given below")
    config: Path | None = Field(None, description="detectron2 YAML file (or LazyConfig .py); null: the preset's")
    weights: Path = Field(description="checkpoint of that network, .pth (or .pkl)")
    trust: bool = Field(False, description="allow .pkl, LazyConfig and other files that execute code; also --trust")
    head: Literal["auto", "instances", "sem_seg"] = Field(
        "auto", description="head that is used; auto: the preset's, or the only one"
    )
    classes: list[str] | None = Field(None, description="class names in the order of training; null: the preset's")
    labels: dict[str, str | None] | None = Field(
        None, description="label of each class, null to leave it out; added to the preset's"
    )
    scheme: str | dict[str, Any] | None = Field(
        None, description="label scheme: a name, a YAML file, or its fields; null: the preset's, else lip"
    )
    garments_only: bool | None = Field(
        None, description="no flags about heads and limbs; null: the preset's, else if only clothes are painted"
    )
    score_threshold: float = Field(0.5, ge=0, lt=1, description="instances with a score not above it are left out")
    person_mode: PersonMode = Field("union", description="union: everybody; central: the person around the centre")
    person_class: str | None = Field(
        None, description="with central: class of whole persons, if an instance head has one"
    )
    test_size: int | None = Field(
        256, ge=SMALLEST_SIZE, description="short side that images are scaled to; null: the config's"
    )
    max_size: int = Field(1333, ge=SMALLEST_SIZE, description="longest side that they are scaled to, which wins")
    batch_size: int = Field(
        1, ge=1, description="images of one size in one forward of a semantic head on a GPU; all else goes one by one"
    )


@register_parser("detectron2", Detectron2Settings)
def create_detectron2(
    device: str = "cpu",
    *,
    weights: Path,
    preset: str | None = None,
    config: Path | None = None,
    trust: bool = False,
    head: Literal["auto", "instances", "sem_seg"] = "auto",
    classes: Sequence[str] | None = None,
    labels: dict[str, str | None] | None = None,
    scheme: str | dict[str, Any] | None = None,
    garments_only: bool | None = None,
    score_threshold: float = 0.5,
    person_mode: PersonMode = "union",
    person_class: str | None = None,
    test_size: int | None = 256,
    max_size: int = 1333,
    batch_size: int = 1,
) -> Detectron2Parser:
    """Build the parser; the arguments are described by :class:`Detectron2Settings`.

    Raises:
        InputError: The library is not installed; a file is missing, wrong or not allowed; the classes do not fit.
    """
    facts = None if preset is None else load_preset(preset)
    mapped = map_classes(facts, classes, labels, scheme, garments_only)
    if config is None and facts is None:
        raise InputError("the parser detectron2 needs a configuration: parse.settings.config, or parse.settings.preset")
    if person_class is not None and (person_mode != "central" or person_class not in mapped.names):
        raise InputError(
            f"parse.settings.person_class {person_class!r} must be one of the classes, with person_mode central"
        )
    require_library()
    from pipeline.parsing.detectron2.network import load_network

    wanted = head if head != "auto" else None
    if wanted is None and facts is not None:
        wanted = facts.head
    network = load_network(
        config=config or PRESETS / (facts.config if facts else ""),
        weights=weights,
        device=device,
        head=wanted,
        score_threshold=score_threshold,
        test_size=test_size,
        max_size=max_size,
        trust=trust,
        mapped=mapped,
        own_config=config is not None,
    )
    if network.head == "sem_seg" and person_class is not None:
        raise InputError("parse.settings.person_class is for instance heads; a semantic head has no persons")
    return Detectron2Parser(
        network,
        mapped,
        score_threshold,
        person_mode,
        None if person_class is None else mapped.names.index(person_class),
        1 if device == "cpu" or network.head == "instances" else batch_size,
    )
