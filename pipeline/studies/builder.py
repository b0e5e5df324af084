"""Adds the steps of runs to a plan: what several runs share is there once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import Parameters, build_parameters
from pipeline.config.deciding import Kind, deciding
from pipeline.datasets.catalog import load_facts
from pipeline.datasets.walkers.oracle import OracleKind
from pipeline.errors import InputError
from pipeline.files import sha256_of_file, sha256_of_value
from pipeline.losses.captions import CaptionSettings
from pipeline.losses.terms import settings_as
from pipeline.models.builtin import PREFIX as BUILTIN
from pipeline.models.builtin import weights_on_disk
from pipeline.studies.costs import estimate
from pipeline.studies.rows import FROZEN, WALKERS, Base, Given, Plan, Row, Run, SweepRows
from pipeline.studies.steps import Step
from pipeline.studies.study import Study, dotted
from pipeline.training.methods import METHODS, identity_images

METHOD_KEY = "encoder.method"
SHARED = {"seed", "device", "threads", "data", "synth", "pretrain", "parse", "leakage", "report", "model.pretrained"}
"""Sections and keys that methods cannot change: what they decide is made once for all of them, or decides nothing."""


def common_changes(study: Study, base: Base) -> list[tuple[str, Any]]:
    """Changes to the tree under all methods: the study's own, unless the user gave a file; then the user's."""
    return [*(dotted(study.parameters) if base.tree is None else []), *base.overrides]


def common_parameters(study: Study, base: Base) -> Parameters:
    """The common parameters.

    Raises:
        InputError: A key is unknown, or a value is not allowed.
    """
    return build_parameters(base.tree or {}, common_changes(study, base), "the study's parameters")


def packaged_clip(study: Study, base: Base) -> str | None:
    """Hash of the CLIP that comes with the program, where walkers are to start from it; None: the study trains one.

    Raises:
        InputError: There is no such CLIP, or a parameter is wrong.
    """
    pretrained = common_parameters(study, base).model.pretrained
    if pretrained is None or not pretrained.startswith(BUILTIN):
        return None
    weights = weights_on_disk(pretrained)
    assert weights is not None, "what comes with the program is a file, or refused"
    return sha256_of_file(weights)


def method_changes(study: Study, name: str, base: Base) -> dict[str, Any]:
    """What a method changes; tuned values are for the study's own parameters only."""
    changes = dict(dotted(study.methods[name] or {}))
    if METHOD_KEY not in changes and name in METHODS:
        changes = {METHOD_KEY: name, **changes}
    if base.tree is None:
        changes |= dict(dotted(study.tuned.get(name, {})))
    return changes


def check_of_method(name: str, changes: Mapping[str, Any]) -> None:
    """Check that a method changes nothing that its runs share with those of other methods.

    Raises:
        InputError: It does: there is one rendering, one parse and one CLIP for all, so the change would be lost.
    """
    for key in changes:
        if key in SHARED or key.split(".")[0] in SHARED:
            raise InputError(
                f"method {name}: {key} is the same for all methods of a study: change it under parameters, or by "
                f"--set, and give each setting an --out of its own"
            )


def _hash_of_captions(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise InputError(f"encoder.captions: {path} cannot be read ({error.strerror or error})") from None


def _check_shared(step: Step, made_of: Mapping[str, Any]) -> None:
    if step.made_of != made_of:
        raise InputError(
            f"methods of a study share {step.name}, and they differ in what it is made of: "
            f"{_difference(step.made_of, made_of)}; change it under parameters"
        )


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """The first values that differ, such as ``model.image_size is [256, 128] or [128, 64]``."""
    for key in sorted(first.keys() | second.keys()):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one != other:
            return f"{key}.{_difference(one, other)}"
        if one != other:
            return f"{key} is {one} or {other}"
    raise ValueError("the two are equal")


@dataclass(frozen=True)
class Outside:
    """Artifacts that runs read and that no step makes: where they lie, and their hashes, by role."""

    places: Mapping[str, Path] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)


NOTHING_GIVEN = Outside()


@dataclass
class Builder:
    """Adds steps to a plan, each once."""

    study: Study
    folder: Path
    base: Base
    given: Given | None
    code: Mapping[Kind, str]
    steps: dict[str, Step] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)

    @cached_property
    def given_clip(self) -> str | None:
        """What the weights are that come from outside; None: a step makes them."""
        return packaged_clip(self.study, self.base) if self.given is None else self.given.clip

    def parameters(self, changes: Mapping[str, Any], seed: int, where: str, top: str) -> Parameters:
        """Those of one run, with the places of the study filled in."""
        places: list[tuple[str, Any]] = [("seed", seed)]
        if self.given_clip is None:
            places += [("model.pretrained", str(self.folder / "clip" / "weights.safetensors"))]
        if self.given is None:
            places += [("data.root", str(self.folder / top / "data"))]
        all_changes = [*common_changes(self.study, self.base), *changes.items(), *places]
        return build_parameters(self.base.tree or {}, all_changes, where)

    def add(
        self,
        name: str,
        kind: Kind,
        parameters: Parameters,
        inputs: Mapping[str, str],
        out: Path | None = None,
        given: Outside = NOTHING_GIVEN,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a step if it is not there.

        Raises:
            InputError: Another step of that name is there: a method changes what all methods share.
        """
        made_of = {**self._deciding(kind, parameters), **(more or {})}
        if name in self.steps:
            _check_shared(self.steps[name], made_of)
            return name
        places = {role: self.steps[step].out for role, step in inputs.items()}
        self.steps[name] = Step(
            name=name,
            kind=kind,
            parameters=parameters,
            places={**places, **given.places, "out": out or self.folder / name},
            inputs=dict(inputs),
            made_of=made_of,
            code=self.code.get(kind, ""),
            cost=estimate(kind, parameters),
            given=given.hashes,
        )
        return name

    def _deciding(self, kind: Kind, parameters: Parameters) -> dict[str, Any]:
        """The parameters that decide an artifact; texts of images by what is in their file, not by where it lies."""
        decided = deciding(kind, parameters, self.given_clip)
        captions = settings_as(parameters.encoder, CaptionSettings).captions
        if kind == "encoder" and captions is not None:
            decided["encoder"]["captions"] = _hash_of_captions(captions)
        return decided

    def clip(self, parameters: Parameters) -> dict[str, str]:
        """The CLIP that the study pre-trains, as an input; nothing where it is given."""
        if self.given_clip is not None:
            return {}
        own = parameters.model_copy(update={"seed": self.study.clip_seed})
        population = self.add("population", "population", own, {})
        return {"clip": self.add("clip", "clip", own, {"population": population})}

    def shards(self, top: str, parameters: Parameters) -> tuple[dict[str, str], Outside]:
        """The shards of a seed: as an input, or as what lies outside."""
        if self.given is None:
            data = self.add(f"{top}/data", "data", parameters, {})
            own = parameters
            if parameters.parse.parser == "precomputed" and "root" not in parameters.parse.settings:
                labels = {**parameters.parse.settings, "root": str(self.folder / data / WALKERS / "labels")}
                parse = parameters.parse.model_copy(update={"settings": labels})
                own = parameters.model_copy(update={"parse": parse})
            new = f"{top}/shards" not in self.steps
            name = self.add(f"{top}/shards", "shards", parameters, {"data": data})
            if new:  # where the label maps lie is no part of what the shards are
                self.steps[name] = replace(self.steps[name], parameters=own)
            return {"shards": name}, NOTHING_GIVEN
        if self.given.shards_sha256 is None:
            name = self.add("shards", "shards", parameters, {}, out=self.given.shards)
            return {"shards": name}, NOTHING_GIVEN
        return {}, Outside({"shards": self.given.shards}, {"shards": self.given.shards_sha256})

    def frozen(self, top: str, seed: int) -> Run:
        """Features and metrics of the CLIP before training. They do not depend on the training's seed."""
        top_of_data = top if self.given is None else top.removesuffix(f"seed-{seed}").rstrip("/")
        parameters = self.parameters({}, seed if self.given is None else self.study.seeds[0], FROZEN, top)
        shards, given = self.shards(top, parameters)
        place = f"{top_of_data}/{FROZEN}".lstrip("/")
        features = self.add(
            f"{place}/features.parquet",
            "features",
            parameters,
            {**shards, **self.clip(parameters)},
            given=given,
        )
        return self.scored(top, place, parameters, features)

    def oracle(self, top: str, kind: OracleKind, seed: int) -> Run:
        """Features of what is true of the rendered images."""
        parameters = self.parameters({}, seed, f"oracle {kind}", top)
        data = self.add(f"{top}/data", "data", parameters, {})
        place = f"{top}/oracles/{kind}"
        features = self.add(f"{place}/features.parquet", "oracle", parameters, {"data": data}, more={"oracle": kind})
        return self.scored(top, place, parameters, features)

    def scored(
        self,
        top: str,
        place: str,
        parameters: Parameters,
        features: str,
        encoder: str | None = None,
        leakage: bool = True,
    ) -> Run:
        """Metrics and leakage of features."""
        metrics = self.add(f"{place}/metrics.json", "metrics", parameters, {"features": features})
        if not (leakage and self.study.leakage):
            return Run(metrics, encoder)
        inputs = {"features": features}
        if self.given is None:
            inputs["data"] = f"{top}/data"
        return Run(metrics, encoder, self.add(f"{place}/leakage.json", "leakage", parameters, inputs))

    def trained(self, top: str, name: str, changes: Mapping[str, Any], seed: int, leakage: bool = True) -> Run:
        """Prompts, encoder, features and metrics of one run; an equal run is taken instead of made again.

        Raises:
            InputError: The method changes what all methods share, or a parameter is wrong.
        """
        parameters = self.parameters(changes, seed, f"method {name}", top)
        check_of_method(name, changes)
        shards, given = self.shards(top, parameters)
        clip = self.clip(parameters)
        prompts = self.prompts(top, parameters, {**shards, **clip}, given)
        made_of = {**self._deciding("encoder", parameters), "prompts": prompts}
        tested = [deciding(kind, parameters) for kind in ("blend", "features", "metrics")]
        place = self.runs.setdefault(sha256_of_value([top, made_of, tested]), f"{top}/methods/{name}")
        encoder = self.add(
            self.encoders.setdefault(sha256_of_value([top, made_of]), f"{place}/encoder"),
            "encoder",
            parameters,
            {**shards, **clip, "prompts": prompts},
            given=given,
        )
        tested_encoder = encoder
        if not parameters.blend.changes_nothing:
            tested_encoder = self.add(f"{place}/blended", "blend", parameters, {**clip, "encoder": encoder})
        features = self.add(
            f"{place}/features.parquet",
            "features",
            parameters,
            {**shards, "encoder": tested_encoder},
            given=given,
        )
        return self.scored(top, place, parameters, features, encoder, leakage)

    def prompts(
        self,
        top: str,
        parameters: Parameters,
        inputs: Mapping[str, str],
        given: Outside,
    ) -> str:
        """The prompts that a method needs; one of another recipe than the study's common one has a name of its own."""
        images = identity_images(parameters.encoder.method, parameters.prompts.identity_images)
        made_of = deciding("prompts", parameters, self.given_clip)
        method = {METHOD_KEY: parameters.encoder.method}
        usual = deciding(
            "prompts", self.parameters(method, parameters.seed, "the study's parameters", top), self.given_clip
        )
        name = f"{top}/prompts-{images}" + ("" if made_of == usual else f"-{sha256_of_value(made_of)[:8]}")
        return self.add(name, "prompts", parameters, inputs, given=given)

    def plan(self, rows: Sequence[Row], seeds: tuple[int, ...], sweeps: Sequence[SweepRows] = ()) -> Plan:
        """What was added."""
        parameters = common_parameters(self.study, self.base)
        dataset = load_facts(parameters.data.dataset).name
        return Plan(self.folder, dataset, parameters, seeds, dict(self.steps), tuple(rows), tuple(sweeps))
