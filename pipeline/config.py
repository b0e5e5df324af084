"""All parameters: frozen, typed, checked. ``params.yaml`` holds one section for each model below.

Defaults are the paper's (arXiv 2406.09198) where it states them; ``params.yaml`` of the repository is the small setting
of the embedded demo. A class of the library never takes one of these models: it takes plain keyword arguments.
"""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, ValidationError, field_validator

from pipeline.errors import InputError
from pipeline.presets import parameter_file
from pipeline.training.methods import find_method


class Section(BaseModel):
    """Base of every section: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataParameters(Section):
    """Which data set the stages work on."""

    dataset: str = Field("walkers", description="name in data_manifests/, or path of such a YAML file")
    root: str | None = Field(None, description="folder that holds the data sets; default $CCAF_DATA")
    frames_per_tracklet: int | None = Field(None, ge=1, description="evenly spaced frames of a tracklet; null: all")


class SynthParameters(Section):
    """The rendered data set (walkers)."""

    height: int = Field(128, ge=64, le=512, description="image height in pixels; the width is half of it")
    train_identities: int = Field(96, ge=2, description="people in the training split")
    test_identities: int = Field(60, ge=2, description="other people, in query and gallery")
    outfits: int = Field(3, ge=2, description="outfits a person has at the most; at least two")
    images_per_outfit: int = Field(4, ge=1, description="images of a person in one outfit")
    cameras: int = Field(
        4, ge=2, le=12, description="cameras, each with its own light, colour, blur, noise and background"
    )
    pretrain_images: int = Field(7000, ge=16, description="captioned images of the separate population")


class ModelParameters(Section):
    """The CLIP that everything starts from."""

    name: str = Field("ViT-B-16-quickgelu", description="open_clip model name, or path of an open_clip JSON config")
    pretrained: str | None = Field("openai", description="open_clip tag, or a local weights file; null: random weights")
    stem: Literal["patch", "conv"] = Field("patch", description="patch embedding: one convolution, or a stack of 3x3")
    image_size: tuple[int, int] = Field((256, 128), description="height and width in pixels")
    stride: int | None = Field(
        None,
        ge=1,
        description="pixels between two patches; less than the patch lets them overlap (12); null: the patch",
    )
    camera_embedding: float = Field(
        0.0, ge=0, description="scale of an embedding a camera, added to the class token in stage 2; 0: none"
    )
    pixel_mean: tuple[float, float, float] = Field(
        (0.5, 0.5, 0.5), description="taken off each channel in [0, 1]; CLIP-ReID's"
    )
    pixel_std: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="divisor of each channel")


class PretrainParameters(Section):
    """Contrastive pre-training of a small CLIP on captioned walkers."""

    epochs: int = Field(5, ge=1, description="passes over the captioned images")
    batch_size: int = Field(48, ge=2, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the one-cycle schedule")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    caption_every: int = Field(4, ge=1, description="steps between two caption InfoNCE terms")
    grey_box_probability: float = Field(
        0.3, ge=0, le=1, description="chance of grey boxes on an image, so that shielding is nothing new"
    )


class ParseParameters(Section):
    """Human parsing into shards."""

    parser: str = Field("lite", description="name of a registered parser")
    settings: dict[str, Any] = Field(default_factory=dict, description="the parser's own settings")
    clothes_labels: list[str] | None = Field(None, description="names of labels to cover; null: the scheme's default")
    fill: Literal["white", "black", "mean", "noise", "blur"] = Field(
        "white", description="what covers clothes; the paper's is white"
    )
    dilate: int = Field(0, ge=0, description="pixels by which the clothes mask is grown; the paper has none")
    fill_holes: bool = Field(False, description="also cover background that clothes enclose; the paper does not")
    shard_rows: int = Field(512, ge=1, description="images in a shard at the most; small data sets get smaller shards")
    row_group_rows: int = Field(64, ge=1, description="images in a Parquet row group")
    batch_size: int = Field(16, ge=1, description="images handed to the parser at once; changes no result")
    bucket_batches: int = Field(
        4, ge=1, description="batches among whose images those of similar size are put together; changes no result"
    )
    io_threads: int = Field(2, ge=1, description="threads a worker reads and decodes with, and as many to encode")
    gpus_per_worker: float = Field(1.0, gt=0, description="GPUs a worker takes on CUDA; 0.5: two workers share one")
    restarts: int = Field(3, ge=0, description="how often a shard may cost a worker's life before the run fails")
    shard_timeout: float = Field(
        0.0, ge=0, description="seconds for one shard after which its worker is replaced as hung; 0: no limit"
    )
    max_pixels: int = Field(64_000_000, ge=1, description="larger images are quarantined before decoding")
    max_bad: float = Field(0.01, ge=0, le=1, description="share of quarantined images above which the run fails")
    min_person_fraction: float = Field(0.02, ge=0, le=1, description="below it an image is flagged no_person")
    low_confidence: float = Field(0.5, ge=0, le=1, description="below it an image is flagged low_confidence")

    @field_validator("settings")
    @classmethod
    def _as_stored(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """As the shards store them: in JSON every key is a text, in YAML it may be a number."""
        try:
            stored: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"only texts, numbers, lists and mappings can be recorded ({error})") from None
        return stored


class LoadingParameters(Section):
    """How images come from the shards to the networks; changes no result."""

    pixels: Literal["auto", "always", "never"] = Field(
        "auto", description="keep decoded images on local disk: auto (for training, where they fit), always, never"
    )
    gigabytes: float = Field(64.0, gt=0, description="most that the decoded images of a run may take, in 10^9 bytes")
    threads: int = Field(2, ge=1, description="threads that make training batches")
    ahead: int = Field(4, ge=0, description="training batches made ahead of their step; 0: none")


class PromptParameters(Section):
    """Stage 1: learning identity and clothes prompts (equations 5, 6, 12, 13, 16)."""

    tokens: int = Field(4, ge=1, description="M, learnable tokens a prompt")
    identity_images: Literal["auto", "shielding", "raw"] = Field(
        "auto", description="images that identity prompts are learned from; auto: as encoder.method needs"
    )
    similarity: Literal["dot", "cosine"] = Field("dot", description="dot: CLIP-ReID's; cosine: with CLIP's logit scale")
    epochs: int = Field(120, ge=1, description="passes over the cached features")
    batch_size: int = Field(64, ge=2, description="images a step")
    learning_rate: float = Field(3.5e-4, gt=0, description="of Adam, after the warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="of Adam")
    schedule_every: Literal["step", "epoch"] = Field("step", description="as in encoder.schedule_every")
    warmup_epochs: int = Field(5, ge=0, description="length of the linear warm-up")
    warmup_learning_rate: float = Field(1e-5, gt=0, description="where the warm-up starts")
    final_learning_rate: float = Field(1e-6, ge=0, description="where the cosine decay ends")
    clothes_classes: Literal["auto", "labels", "cluster", "image", "none"] = Field(
        "auto",
        description="auto: the data set's labels, else cluster: clusters of clothes features within an identity; "
        "image: one class an image; none: no clothes prompts",
    )
    cluster_distance: float = Field(0.2, ge=0, le=2, description="cosine distance up to which clusters are merged")
    without_clothes: Literal["keep", "drop"] = Field(
        "keep", description="training images whose parse has no clothes: keep for the identity losses, or drop"
    )
    text_chunk: int = Field(256, ge=1, description="classes whose text features are computed at once; bounds memory")


class EncoderParameters(Section):
    """Stage 2: training the encoders (equations 7, 9, 10, 14, 15, 17)."""

    method: str = Field("ccaf", description="name of a method, see the table of methods")
    weights: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="weights of terms by name, over the method's; 0 leaves a term out"
    )
    epochs: int = Field(40, ge=1, description="passes of the identity sampler")
    identities_per_batch: int = Field(16, ge=2, description="P")
    images_per_identity: int = Field(4, ge=2, description="K_p")
    learning_rate: float = Field(5e-6, gt=0, description="of Adam, after the warm-up; biases have twice as much")
    head_factor: float = Field(1.0, gt=0, description="learning rate of heads and Proj_c, as a multiple")
    weight_decay: float = Field(1e-4, ge=0, description="of Adam")
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="after the warm-up: cosine decay to zero, or a tenth at each milestone (CLIP-ReID's)"
    )
    schedule_every: Literal["step", "epoch"] = Field(
        "step", description="when the rate changes; epoch: the n-th epoch has the rate at n, as in CLIP-ReID"
    )
    milestones: tuple[int, ...] = Field((30, 50), description="epochs at which the step schedule lowers the rate")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="share of the steps that warm up from 0.1 x the rate")
    similarity: Literal["dot", "cosine"] = Field("dot", description="as in prompts.similarity")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="in the identity and image-text cross-entropies")
    triplet_margin: float = Field(0.3, ge=0, description="margin of the triplet loss")
    identity_weight: float = Field(0.25, ge=0, description="weight of each identity cross-entropy")
    identity_features: Literal["all", "projected"] = Field(
        "all", description="features under L_id; all: CLIP-ReID's three; projected: the 512-d one only"
    )
    lambda_con: float = Field(0.1, ge=0, description="lambda_1, weight of the image-image alignment L_con (10)")
    lambda_dis: float = Field(1.0, ge=0, description="lambda_2, weight of the disentangle loss L_dis (15)")
    disentangle: Literal["cos2", "cos", "abs", "as-printed"] = Field(
        "cos2", description="form of L_dis (15); cos2 stops at orthogonal, as-printed raises the cosine"
    )
    alternate: tuple[int, int] | None = Field(
        None, description="examine steps and other steps in turn, [n, m]; null: one backward pass of the sum"
    )
    start_epochs: dict[str, NonNegativeInt] = Field(
        default_factory=dict, description="epochs that pass before a term enters the sum, by name; 0 where not named"
    )
    target: Literal["cached", "computed"] = Field(
        "cached", description="frozen shielding features of ccaf-plus: of each image once, or of each augmented view"
    )
    cal_epsilon: float = Field(0.1, ge=0, le=1, description="CAL: share of the target over all clothes of the person")
    cal_scale: float = Field(16.0, gt=0, description="CAL: scale of its cosine classifier")
    spread: Literal["none", "outfits", "cameras", "both"] = Field(
        "none", description="spread an identity's K_p images over its outfits, cameras, or both"
    )
    view_geometry: Literal["shared", "independent"] = Field(
        "shared", description="whether raw and shielding view of an image share flip, crop and erased box"
    )
    flip_probability: float = Field(0.5, ge=0, le=1, description="chance of mirroring an image")
    pad: int = Field(10, ge=0, description="pixels of padding before the random crop")
    erase_probability: float = Field(0.5, ge=0, le=1, description="chance of an erased box")

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        find_method(name)
        return name

    @field_validator("alternate")
    @classmethod
    def _steps_of_both_kinds(cls, steps: tuple[int, int] | None) -> tuple[int, int] | None:
        if steps is not None and min(steps) < 1:
            raise ValueError("both numbers must be at least 1")
        return steps


class TrainingParameters(Section):
    """How both stages run: numbers, memory, states to go on from, checks between epochs."""

    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="numbers of the networks; weights and losses stay fp32; fp16 needs CUDA"
    )
    recompute_activations: bool = Field(
        False, description="gradient checkpointing of stage 2: less memory, a third more time, equal gradients"
    )
    accumulation: int = Field(
        1, ge=1, description="parts in which a batch of stage 2 goes through the encoders; the losses see it whole"
    )
    clip_gradients: float | None = Field(None, gt=0, description="largest norm of all gradients together; null: any")
    save_minutes: float = Field(5.0, gt=0, description="time between two states to go on from")
    save_steps: int = Field(0, ge=0, description="steps between two states; 0: by time only")
    max_failures: int = Field(3, ge=0, description="how often workers may die before the run fails")
    evaluate_every: int = Field(
        0, ge=0, description="epochs of stage 2 between two checks, which choose the best weights; 0: none"
    )
    evaluate_split: Literal["val", "test"] = Field(
        "test", description="images of the checks: the validation split, or query and gallery of the test"
    )
    evaluate_protocol: str | None = Field(
        None, description="protocol of the checks; null: the data set's cloth-changing one, else its first"
    )
    evaluate_metric: Literal["mAP", "rank1", "mINP"] = Field("mAP", description="figure that chooses the best weights")
    tensorboard: bool = Field(False, description="also write curves for TensorBoard, to <out>-tensorboard")


class EvaluateParameters(Section):
    """Features and protocols."""

    protocols: list[str] | None = Field(None, description="names of protocols; null: those that the data set defines")
    feature: Literal["concat", "projected"] = Field(
        "concat", description="test feature: 768-d and 512-d, or 512-d only"
    )
    flip: bool = Field(False, description="average the feature with that of the mirrored image")
    batch_size: int = Field(128, ge=1, description="images a forward pass")
    bootstrap: int = Field(1000, ge=0, description="resamples of query identities for the 95% intervals; 0: none")
    rerank: bool = Field(False, description="score the k-reciprocal re-ranking (arXiv 1701.08398) as well")
    rerank_neighbours: int = Field(20, ge=1, description="size of its neighbourhoods, k1")
    rerank_averaged: int = Field(6, ge=1, description="neighbours over which its weights are averaged, k2; 1: none")
    rerank_lambda: float = Field(0.3, ge=0, le=1, description="share of the original distance")
    rerank_gigabytes: float = Field(4.0, gt=0, description="re-ranking that may need more memory is refused")


class ReportParameters(Section):
    """The HTML page."""

    sheet_images: int = Field(12, ge=1, description="images on the sheet of masks")
    ranked_queries: int = Field(8, ge=1, description="queries whose ranked galleries are shown")
    ranked_depth: int = Field(8, ge=1, description="gallery items shown a query")


class Parameters(Section):
    """Everything in ``params.yaml``."""

    seed: int = Field(0, ge=0, description="root of every random choice")
    device: str = Field("auto", description="auto (CUDA where present, else CPU), cpu, cuda, cuda:1, ...")
    threads: int = Field(0, ge=0, description="CPU threads of the networks; 0: as torch decides")
    data: DataParameters = DataParameters()
    synth: SynthParameters = SynthParameters()
    model: ModelParameters = ModelParameters()
    pretrain: PretrainParameters = PretrainParameters()
    parse: ParseParameters = ParseParameters()
    loading: LoadingParameters = LoadingParameters()
    prompts: PromptParameters = PromptParameters()
    encoder: EncoderParameters = EncoderParameters()
    training: TrainingParameters = TrainingParameters()
    evaluate: EvaluateParameters = EvaluateParameters()
    report: ReportParameters = ReportParameters()


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = tree
    for name in parents:
        child = node.get(name)
        if not isinstance(child, dict):
            child = node[name] = {}
        node = child
    node[last] = value


def _explain(error: ValidationError, source: str) -> str:
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "the file"
        if item["type"] == "extra_forbidden":
            close = get_close_matches(key, _known_keys(Parameters), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{key} is not a parameter{hint}")
        else:
            problems.append(f"{key} = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}")
    return f"{source}: " + "; ".join(problems)


def one_line(error: Exception) -> str:
    """An error of the YAML reader in one line: the place and the problem."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', error)}"


def _read_override(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {override}: expected key=value, such as encoder.epochs=10")
    try:
        return key.strip(), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not YAML: {one_line(error)}") from error


def _forget_other_parsers_settings(tree: dict[str, Any], changes: Sequence[tuple[str, Any]]) -> None:
    """Take ``parse.settings`` out of a file's tree if the changes choose another parser than the file."""
    parse = tree.get("parse")
    chosen = [value for key, value in changes if key == "parse.parser"]
    if isinstance(parse, dict) and chosen:
        default = ParseParameters.model_fields["parser"].default
        if chosen[-1] != parse.get("parser", default):
            parse.pop("settings", None)


def load_parameters(path: Path | None = None, overrides: Sequence[str] = ()) -> Parameters:
    """Read parameters from a YAML file and apply ``key=value`` overrides (values are YAML).

    Args:
        path: The file, or ``preset:NAME``; None means defaults only.
        overrides: Such as ``encoder.epochs=10``; later ones win. The file's ``parse.settings`` belong to the file's
            parser: where the overrides choose another one, they are left out.

    Raises:
        InputError: The file is missing or no YAML mapping, a key is unknown, or a value is not allowed.
    """
    tree: Any = {}
    source = "parameters"
    if path is not None:
        source = str(path)
        path = parameter_file(path)
        try:
            tree = yaml.safe_load(path.read_text()) or {}
        except FileNotFoundError:
            raise InputError(f"parameter file not found: {path}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"parameter file {path} cannot be read as YAML: {one_line(error)}") from error
        if not isinstance(tree, dict):
            raise InputError(f"parameter file {path} must be a mapping of sections, not {type(tree).__name__}")
    changes = [_read_override(override) for override in overrides]
    _forget_other_parsers_settings(tree, changes)
    for key, value in changes:
        _assign(tree, key, value)
    if overrides:
        source = f"{source} with options"
    try:
        return Parameters.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error, source)) from None
