"""What settings say of loss terms, checked before anything is trained."""

from collections.abc import Collection

from pipeline.errors import InputError
from pipeline.losses.captions import CaptionSettings
from pipeline.losses.registry import find_terms
from pipeline.losses.terms import Need, settings_as
from pipeline.training.methods import term_weights
from pipeline.training.settings import EncoderSettings


def check_terms(settings: EncoderSettings) -> None:
    """Check what the settings say of terms, as far as it can be known before stage 1.

    Raises:
        InputError: A term is not known, or starts too late, or none is there that ``alternate`` could take turns with.
    """
    find_terms(settings.weights)
    terms = find_terms(term_weights(settings.method, settings, settings.weights))
    late = {name: start for name, start in settings.start_epochs.items() if start >= settings.epochs}
    absent = sorted(settings.start_epochs.keys() - terms.keys())
    if absent:
        raise InputError(
            f"encoder.start_epochs: {', '.join(absent)} is no term of this training; its terms are: {', '.join(terms)}"
        )
    if late:
        raise InputError(f"encoder.start_epochs: {late} is never reached in {settings.epochs} epochs (encoder.epochs)")
    about_clothes = sorted(name for name, term in terms.items() if term.needs & {"clothes_texts", "clothes_classes"})
    classless = settings.redress_classes == "none" or "donor" not in settings.redress_kinds
    if settings.redress == 1 and classless and about_clothes:
        raise InputError(
            f"encoder.redress is 1, so that no image wears its own clothes, and redressed views have no class: "
            f"{', '.join(about_clothes)} would see none; use less, or encoder.redress_classes=donor and donor among "
            f"encoder.redress_kinds"
        )
    _check_captions(settings, {need for term in terms.values() for need in term.needs})
    if settings.alternate is not None and not any(term.examines for term in terms.values()):
        raise InputError("encoder.alternate is set, but no term of the method examines: nothing to take turns with")


def _check_captions(settings: EncoderSettings, needs: Collection[Need]) -> None:
    """Texts of single images must be given where a term needs them, and nowhere else."""
    wanted = {"identity_captions", "clothes_captions"} & set(needs)
    given = settings_as(settings, CaptionSettings).captions
    if wanted and given is None:
        columns = " and ".join(sorted(name.removesuffix("_captions") for name in wanted))
        raise InputError(
            f"method {settings.method} with these encoder.weights needs texts of single images: name a Parquet file "
            f"with image_id and {columns} in encoder.captions"
        )
    if given is not None and not wanted:
        raise InputError(
            "encoder.captions is given, but no term uses it: choose encoder.method=captions, or give caption_align, or "
            "caption_examine and caption_orthogonal, a weight in encoder.weights"
        )
    if "clothes_captions" in wanted and settings.redress:
        raise InputError(
            "encoder.redress changes what people wear, and the texts about clothes in encoder.captions would be of "
            "other clothes: use one of them, or set the weights of caption_examine and caption_orthogonal to 0"
        )
