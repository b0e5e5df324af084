"""What settings say of loss terms, checked before anything is trained."""

from pipeline.errors import InputError
from pipeline.losses.registry import find_terms
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
    if settings.redress == 1 and settings.redress_classes == "none" and about_clothes:
        raise InputError(
            f"encoder.redress is 1, so that no image wears its own clothes, and redressed views have no class: "
            f"{', '.join(about_clothes)} would see none; use less, or encoder.redress_classes=donor"
        )
    if settings.alternate is not None and not any(term.examines for term in terms.values()):
        raise InputError("encoder.alternate is set, but no term of the method examines: nothing to take turns with")
