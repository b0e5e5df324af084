"""Settings of the section ``leakage``: probes of clothes and identity."""

from pydantic import Field

from pipeline.settings import SettingsGroup


class LeakageSettings(SettingsGroup):
    """Linear probes of clothes and identity on frozen test features."""

    folds: int = Field(5, ge=2, description="Folds by person; nobody is in both parts of a probe.")
    penalty: float = Field(0.01, gt=0, description="L2 penalty of the logistic regression on standardised features.")
    images_per_outfit: int = Field(
        40, ge=2, description="Most images of one person in one outfit that probes within identities use."
    )
