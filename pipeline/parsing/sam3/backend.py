"""The parser ``sam3``: its settings, and how it is built."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pipeline.parsing.forward import ANY_DEVICE, NetworkPrecision, refuse_precision
from pipeline.parsing.instances import PersonMode
from pipeline.parsing.parser import register_parser
from pipeline.parsing.sam3.loading import load_sam3
from pipeline.parsing.sam3.network import Sam3Parser
from pipeline.parsing.sam3.phrases import choose_phrases, load_facts
from pipeline.precision import PrecisionName
from pipeline.settings import SettingsGroup


class Sam3Settings(SettingsGroup):
    """Settings of the parser ``sam3``."""

    model: str = Field(
        load_facts().model,
        min_length=1,
        description=f"name on the Hugging Face hub (owner/name), or folder of a saved model ({load_facts().licence})",
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub; null: the main branch")
    phrases: dict[str, str | None] | None = Field(
        None, description="phrase of each label, null to leave one out; added to the packaged ones"
    )
    person: str | None = Field(
        load_facts().person, description="phrase of whole persons; null: they are not looked for"
    )
    scheme: str | dict[str, Any] | None = Field(
        None, description="lip, cihp, atr, pascal, a YAML file or its fields; null: the packaged one, sam3"
    )
    score_threshold: float = Field(0.5, ge=0, lt=1, description="instances with a score not above it are left out")
    person_mode: PersonMode = Field("union", description="union: everybody; central: the person around the centre")
    batch_size: int = Field(
        1, ge=1, description="images in one forward of the image encoder on a GPU; on a CPU they go one by one"
    )
    precision: NetworkPrecision = "fp32"


@register_parser("sam3", Sam3Settings, refuse_precision, ANY_DEVICE)
def create_sam3(
    model: str = load_facts().model,
    device: str = "cpu",
    revision: str | None = None,
    phrases: Mapping[str, str | None] | None = None,
    person: str | None = load_facts().person,
    scheme: str | Mapping[str, Any] | None = None,
    score_threshold: float = 0.5,
    person_mode: PersonMode = "union",
    batch_size: int = 1,
    precision: PrecisionName = "fp32",
) -> Sam3Parser:
    """Build the parser from a saved model; the arguments are described by :class:`Sam3Settings`.

    Raises:
        InputError: transformers is not installed, the model cannot be had, phrases and labels do not fit, or the device
            cannot do the precision.
    """
    refuse_precision(device, {"precision": precision})  # before much is read
    chosen = choose_phrases(scheme, phrases, person)
    loaded = load_sam3(model, revision)
    return Sam3Parser(loaded, chosen, score_threshold, person_mode, device, batch_size, precision)
