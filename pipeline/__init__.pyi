"""Types of what :mod:`pipeline` imports when it is first used."""

from pipeline.api import load_encoder as load_encoder
from pipeline.api import open_shards as open_shards
from pipeline.api import read_record as read_record
from pipeline.api import score_features as score_features
from pipeline.features.embedding import Encoder as Encoder
from pipeline.features.feature_set import FeatureSet as FeatureSet
from pipeline.features.feature_set import read_features as read_features

__version__: str
__all__: list[str]
