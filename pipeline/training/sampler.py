"""Identity sampling: batches of P identities x K images, seeded, the same for the same epoch."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Indices = NDArray[np.int64]


class IdentitySampler:
    """Batches of P identities with K images each.

    In an epoch every identity's images are shuffled and dealt out in groups of K (an identity with fewer than K images
    repeats some; a rest smaller than K waits for another epoch). Batches take P identities at random among those that
    have a group left, until fewer than P have.

    Args:
        labels: Class number of each image, (N,); negative ones are never sampled.
        identities: P.
        images: K.
        seed: Root of the epochs' generators.

    Raises:
        InputError: There are fewer than P identities.
    """

    def __init__(self, labels: Indices, identities: int, images: int, seed: int) -> None:
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
        self._identities = identities
        self._images = images
        self._seed = seed
        if len(self._members) < identities:
            raise InputError(
                f"encoder.identities_per_batch = {identities}, but the training images have "
                f"{len(self._members)} identities"
            )

    def _groups(self, members: Indices, generator: np.random.Generator) -> list[Indices]:
        shuffled = generator.permutation(members)
        if len(shuffled) < self._images:
            extra = generator.choice(members, self._images - len(shuffled))
            shuffled = np.concatenate([shuffled, extra])
        whole = len(shuffled) // self._images * self._images
        return list(shuffled[:whole].reshape(-1, self._images))

    def epoch(self, number: int) -> list[Indices]:
        """All batches of an epoch: image indices (P * K,), the K images of an identity side by side."""
        generator = np.random.default_rng([self._seed, number])
        waiting = [self._groups(members, generator) for members in self._members]
        batches = []
        open_identities = np.arange(len(waiting))
        while len(open_identities) >= self._identities:
            chosen = generator.choice(open_identities, self._identities, replace=False)
            batches.append(np.concatenate([waiting[identity].pop() for identity in chosen]))
            open_identities = np.array([identity for identity in open_identities if waiting[identity]], dtype=np.int64)
        return batches
