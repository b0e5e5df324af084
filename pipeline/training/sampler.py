"""Identity sampling: batches of P identities x K images, a pure function of seed and epoch, shared out to ranks."""

from collections import Counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Indices = NDArray[np.int64]
Spread = Literal["none", "outfits", "cameras", "both"]


class IdentitySampler:
    """Batches of P identities with K images each.

    In an epoch every identity's images are shuffled and dealt out in groups of K; a rest smaller than K waits for
    another epoch. An identity with n < K images gives one group in which each image occurs K // n times or once more.
    Batches take P identities at random among those that have a group left, until fewer than P have.

    ``spread`` deals an identity's images so that each group has as many of its outfits, cameras, or outfits and then
    cameras as are left to deal, and keeps the outfits in step, so that later groups are as mixed as they can be.

    Args:
        labels: Class number of each image, (N,); negative ones are never sampled.
        identities: P.
        images: K.
        seed: Root of the epochs' generators.
        spread: See above.
        outfits: Clothes id or class of each image, (N,); equal numbers mean the same outfit, -1 is one of its own.
        cameras: Camera of each image, (N,), likewise.

    Raises:
        InputError: There are fewer than P identities, or ``spread`` needs ids that no image has.
        ValueError: ``spread`` needs ids that are not given.
    """

    def __init__(
        self,
        labels: Indices,
        identities: int,
        images: int,
        seed: int,
        *,
        spread: Spread = "none",
        outfits: Indices | None = None,
        cameras: Indices | None = None,
    ) -> None:
        order = np.argsort(labels, kind="stable")
        order = order[labels[order] >= 0]
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        self._members: list[Indices] = np.split(order, starts[1:]) if len(order) else []
        self._identities = identities
        self._images = images
        self._seed = seed
        self._outfits, self._cameras = _spread_ids(spread, outfits, cameras, len(labels))
        if len(self._members) < identities:
            raise InputError(
                f"encoder.identities_per_batch = {identities}, but the training images have "
                f"{len(self._members)} identities"
            )

    def _groups(self, members: Indices, generator: np.random.Generator) -> Indices:
        """Groups of one identity, (groups, K)."""
        shuffled = generator.permutation(members)
        count, wanted = len(shuffled), self._images
        if count < wanted:
            repeats = [shuffled, *(generator.permutation(members) for _ in range(wanted // count))]
            return np.concatenate(repeats)[:wanted].reshape(1, wanted)
        if self._outfits is not None and self._cameras is not None:
            shuffled = _deal(shuffled, self._outfits[shuffled], self._cameras[shuffled], wanted)
        return shuffled[: count // wanted * wanted].reshape(-1, wanted)

    def epoch(self, number: int, rank: int = 0, world: int = 1) -> Indices:
        """All batches of an epoch: image indices (steps, P * K / world), the K images of an identity side by side.

        Rank ``r`` of ``world`` takes its ``P / world`` identities of each batch: side by side, the ranks' batches are
        those of one process.

        Raises:
            InputError: ``world`` does not divide P.
        """
        if self._identities % world:
            raise InputError(
                f"encoder.identities_per_batch = {self._identities} cannot be shared out to {world} workers: "
                f"it must be a multiple of them"
            )
        generator = np.random.default_rng([self._seed, number])
        dealt = [self._groups(members, generator) for members in self._members]
        left = np.array([len(groups) for groups in dealt])
        starts = np.concatenate([[0], np.cumsum(left)[:-1]])
        groups = np.concatenate(dealt)
        chosen = []
        candidates = np.arange(len(dealt))
        while len(candidates) >= self._identities:
            picked = generator.choice(candidates, self._identities, replace=False)
            left[picked] -= 1
            chosen.append(starts[picked] + left[picked])
            candidates = np.flatnonzero(left)
        batches = groups[np.stack(chosen)].reshape(len(chosen), world, -1)
        share: Indices = batches[:, rank]
        return share


def _spread_ids(
    spread: Spread, outfits: Indices | None, cameras: Indices | None, count: int
) -> tuple[Indices | None, Indices | None]:
    """Ids to spread over, first and second; a kind that does not matter is the same for all images."""
    if spread == "none":
        return None, None
    if (spread != "cameras" and outfits is None) or (spread != "outfits" and cameras is None):
        raise ValueError(f"spread {spread} needs the ids of {'outfits and cameras' if spread == 'both' else spread}")
    needed = {"outfits": None if spread == "cameras" else outfits, "cameras": None if spread == "outfits" else cameras}
    for name, ids in needed.items():
        if ids is not None and not (ids >= 0).any():
            raise InputError(f"encoder.spread = {spread}, but no training image has known {name}: use another value")
    same = np.zeros(count, dtype=np.int64)
    return (same if spread == "cameras" else outfits), (same if spread == "outfits" else cameras)


def _deal(images: Indices, outfits: Indices, cameras: Indices, size: int) -> Indices:
    """Order an identity's shuffled images so that consecutive groups of ``size`` are spread.

    The next image is of the outfit that the group has least of, among equals of the one with most images left; within
    it likewise of a camera. Remaining ties fall by the shuffled order.
    """
    left: dict[int, dict[int, list[int]]] = {}
    for image, outfit, camera in zip(images.tolist(), outfits.tolist(), cameras.tolist(), strict=True):
        left.setdefault(outfit, {}).setdefault(camera, []).append(image)
    totals = Counter(outfits.tolist())
    order: list[int] = []
    for _ in range(len(images) // size):
        had_outfits: Counter[int] = Counter()
        had_cameras: Counter[int] = Counter()
        for _ in range(size):
            outfit = min(left, key=lambda key: (had_outfits[key], -totals[key]))
            stacks = left[outfit]
            camera = min(stacks, key=lambda key: (had_cameras[key], -len(stacks[key])))
            order.append(stacks[camera].pop())
            had_outfits[outfit] += 1
            had_cameras[camera] += 1
            totals[outfit] -= 1
            if not stacks[camera]:
                del stacks[camera]
            if not stacks:
                del left[outfit]
    return np.array(order, dtype=np.int64)
