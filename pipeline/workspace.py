"""Where a data set's artifacts lie when a command is not told otherwise: ``artifacts/<data set>/...``."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ARTIFACTS = Path("artifacts")


class RenderedPart(StrEnum):
    """What synth renders, by the name of its folder in the folder of data sets."""

    WALKERS = "walkers"
    PRETRAIN = "walkers-pretrain"


@dataclass(frozen=True)
class Workspace:
    """Default places of one data set's artifacts."""

    folder: Path

    @classmethod
    def of(cls, dataset: str) -> "Workspace":
        """The workspace of the data set called ``dataset``."""
        return cls(ARTIFACTS / dataset)

    @property
    def shards(self) -> Path:
        """Written by parse."""
        return self.folder / "shards"

    @property
    def inspection(self) -> Path:
        """Written by inspect."""
        return self.folder / "inspect.html"

    @property
    def prompts(self) -> Path:
        """Written by train --stage prompts."""
        return self.folder / "prompts"

    @property
    def encoder(self) -> Path:
        """Written by train --stage encoder."""
        return self.folder / "encoder"

    @property
    def blended(self) -> Path:
        """Written by blend."""
        return self.folder / "blended"

    @property
    def features(self) -> Path:
        """Written by extract."""
        return self.folder / "features.parquet"

    @property
    def export(self) -> Path:
        """Written by export."""
        return self.folder / "export"

    @property
    def shared(self) -> Path:
        """Written by push --dry-run."""
        return self.folder / "shared"

    @property
    def pulled(self) -> Path:
        """Written by pull."""
        return self.folder / "pulled"

    @property
    def frozen_features(self) -> Path:
        """Written by extract --frozen."""
        return self.folder / "features-frozen.parquet"

    @property
    def metrics(self) -> Path:
        """Written by evaluate."""
        return self.folder / "metrics.json"

    @property
    def frozen_metrics(self) -> Path:
        """Written by evaluate, of the features of the CLIP before training."""
        return self.folder / "metrics-frozen.json"

    @property
    def report(self) -> Path:
        """Written by report."""
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        """Written by figures."""
        return self.folder / "figures"
