"""All parameters: the settings of every package, composed. ``params.yaml`` holds one section for each group.

Defaults are the paper's (arXiv 2406.09198) where it states them; ``params.yaml`` of the repository is the small setting
of the embedded demo. A group of settings lives in the package that it steers, whose functions take it whole.
"""

from pipeline.config.parameters import Parameters
from pipeline.config.reading import build_parameters, load_parameters, read_overrides, read_parameter_tree

__all__ = ["Parameters", "build_parameters", "load_parameters", "read_overrides", "read_parameter_tree"]
