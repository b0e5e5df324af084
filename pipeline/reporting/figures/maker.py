"""Makes each figure out of what was read, as the parameters say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.evaluation.protocols import Protocol, select
from pipeline.models.blending import PairedEncoder
from pipeline.models.clip import load_clip
from pipeline.reporting.figures.attention_share import (
    ImageShares,
    References,
    compare,
    measure,
    right_references,
    summarise,
)
from pipeline.reporting.figures.embedding import choose_identities, embed, embedding_section
from pipeline.reporting.figures.feature_distances import feature_distances, feature_section
from pipeline.reporting.figures.groups import FigureGroups
from pipeline.reporting.figures.map_figure import map_rows, map_section
from pipeline.reporting.figures.maps import MapKind, choose_maps
from pipeline.reporting.figures.pairs import draw_pairs
from pipeline.reporting.figures.prompt_distances import prompt_distances, prompt_section
from pipeline.reporting.figures.prompt_subjects import read_prompts
from pipeline.reporting.figures.section import Section
from pipeline.reporting.figures.side_by_side import make_side_by_side, ranked_section
from pipeline.reporting.figures.subjects import Subject, real_people
from pipeline.reporting.numbers import Absent
from pipeline.reporting.ranked import choose_protocol, rank_queries
from pipeline.shards.reader import ShardReader

_TRAIN_PROMPTS = "ccaf-pipeline train --stage prompts"
_MANIFEST = "ccaf-pipeline manifest"
_ONE_NETWORK = "ccaf-pipeline figures --checkpoint TRAINED"
_OTHER_PROTOCOL = "ccaf-pipeline figures --set evaluate.protocols=[general]"
_NAME_PEOPLE = "ccaf-pipeline figures --identity ID --identity ID"
_SEED_MAPS = 36


@dataclass(frozen=True)
class FigureMaker:
    """One method a figure.

    Attributes:
        groups: The parameters.
        reader: The shards.
        facts: Of the data set.
        subjects: The one or two encoders with their features, the same images in the same order.
        device: Where networks run.
        quiet: No progress line.
    """

    groups: FigureGroups
    reader: ShardReader
    facts: DatasetFacts
    subjects: Sequence[Subject]
    device: str
    quiet: bool

    @cached_property
    def protocol(self) -> Protocol | None:
        """The protocol of ranked lists and maps; None where all draw their gallery at random."""
        return choose_protocol(self.groups.evaluate.protocols or self.facts.protocols)

    def prompt_distances(self, folders: Sequence[Path], named: bool) -> Section | Absent:
        """Figure 5.

        Args:
            folders: Prompts checkpoints.
            named: They, or this figure, were asked for: then they must be there.
        """
        if not named and not folders[0].exists():
            return Absent(f"There is no prompts checkpoint at {folders[0]}.", _TRAIN_PROMPTS)
        if not self.facts.roles.get("train"):
            raise InputError(f"data set {self.facts.name} has no training split, so there can be no prompts for it")
        clip = load_clip(self.groups.model, self.groups.seed).freeze()
        read = read_prompts(self.reader, self.facts, folders, clip, self.groups, device=self.device, quiet=self.quiet)
        settings, seed = self.groups.figures, self.groups.seed
        found = {
            name: prompt_distances(prompts, read.shielding, read.clothes, settings.pairs, seed)
            for name, prompts in read.prompts.items()
        }
        return prompt_section(found, len(read.shielding))

    def feature_distances(self) -> Section | Absent:
        """Figure 6."""
        people = {subject.name: real_people(subject.features, self.facts.no_person_ids) for subject in self.subjects}
        pairs = draw_pairs(next(iter(people.values())), self.groups.figures.pairs, self.groups.seed)
        if not len(pairs.same_person) or not len(pairs.different):
            return Absent("No two query or gallery images show the same person, or all show one.", _MANIFEST)
        return feature_section({name: feature_distances(items, pairs) for name, items in people.items()}, pairs)

    def tsne(self, identities: Sequence[int]) -> Section | Absent:
        """Figure 7."""
        settings, seed = self.groups.figures, self.groups.seed
        people = {subject.name: real_people(subject.features, self.facts.no_person_ids) for subject in self.subjects}
        items = next(iter(people.values()))
        try:
            chosen = choose_identities(items, settings.identities, settings.tsne_images, seed, identities)
        except InputError as error:
            if identities:
                raise
            return Absent(f"{str(error).capitalize()}.", _NAME_PEOPLE)
        maps = {name: embed(some, chosen, settings.perplexity, seed) for name, some in people.items()}
        return embedding_section(maps, items, chosen, min(settings.perplexity, (len(chosen.rows) - 1) / 3))

    def ranked(self) -> Section | Absent:
        """Figure 8."""
        if self.protocol is None:
            return Absent("Every protocol of the data set ranks several galleries.", _OTHER_PROTOCOL)
        settings = self.groups.figures
        results = [rank_queries(subject.features, self.protocol, settings.ranked_depth) for subject in self.subjects]
        if not results[0]:
            return Absent(f"Under protocol {self.protocol.name} no query has a right gallery item.", _OTHER_PROTOCOL)
        shown = make_side_by_side(
            self.reader,
            results[0],
            results[1] if len(results) > 1 else None,
            settings.ranked_queries,
            self.groups.seed,
        )
        means = [float(np.mean([item.average_precision for item in of_one])) for of_one in results]
        return ranked_section(shown, [subject.name for subject in self.subjects], self.protocol, means)

    def maps(self) -> Section | Absent:
        """Attention and gradient maps."""
        if self.protocol is None:
            return Absent("Every protocol of the data set ranks several galleries.", _OTHER_PROTOCOL)
        paired = [subject.name for subject in self.subjects if isinstance(subject.chosen.encoder, PairedEncoder)]
        if paired:
            return Absent(f"{paired[0]} compares the features of two networks, and a map shows one.", _ONE_NETWORK)
        settings, seed = self.groups.figures, self.groups.seed
        kinds = choose_maps([subject.chosen.encoder for subject in self.subjects], settings.maps)
        protocol = replace(self.protocol, average_tracklets=False)  # maps are of images
        references = [right_references(*select(subject.features, protocol), protocol) for subject in self.subjects]
        total = len(references[0].image_id)
        if not total:
            return Absent(f"Under protocol {protocol.name} no query has a right gallery item.", _OTHER_PROTOCOL)
        generator = np.random.default_rng([seed, _SEED_MAPS])
        order = generator.permutation(total)
        drawn = np.sort(order[: settings.map_queries]) if settings.map_queries else np.arange(total)
        row_of = {name: row for row, name in enumerate(self.reader.ids.image_id)}
        indices = np.array([row_of[name] for name in references[0].image_id.tolist()], dtype=np.int64)
        people, resamples = references[0].person_id[drawn], self.groups.evaluate.bootstrap
        measured = {
            subject.name: self._measure(subject, reference, drawn, indices, kinds)
            for subject, reference in zip(self.subjects, references, strict=True)
        }
        shares = {
            name: {kind: summarise(item, people, resamples, seed) for kind, item in of_kind.items()}
            for name, of_kind in measured.items()
        }
        first, *others = measured.values()
        differences = {
            kind: compare(first[kind], other[kind], people, resamples, seed) for other in others for kind in kinds
        }
        dressed = [row for row in generator.permutation(drawn) if self.reader.ids.clothes_fraction[indices[row]] > 0]
        shown = sorted(int(row) for row in dressed[: settings.map_images])
        rows = map_rows(
            self.reader,
            {subject.name: subject.model for subject in self.subjects},
            indices[shown].tolist(),
            {subject.name: one.features[shown] for subject, one in zip(self.subjects, references, strict=True)},
            kinds,
        )
        return map_section(shares, differences, rows, len(drawn), total)

    def _measure(
        self, subject: Subject, reference: References, drawn: np.ndarray, indices: np.ndarray, kinds: Sequence[MapKind]
    ) -> dict[MapKind, ImageShares]:
        chosen = indices[drawn]
        return measure(
            subject.model,
            self.reader,
            chosen.tolist(),
            self.reader.ids.camera_id[chosen].tolist(),
            reference.features[drawn],
            kinds,
            batch_size=self.groups.figures.batch_size,
            quiet=self.quiet,
        )
