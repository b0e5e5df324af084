"""Which protocol and which images the checks between epochs use: before anything runs, and when they are made."""

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.evaluation.protocols import Protocol, find_protocols
from pipeline.training.settings import ValidationSettings


def choose_protocol(settings: ValidationSettings, facts: DatasetFacts) -> Protocol:
    """The protocol that is wanted, or the data set's cloth-changing one, or its first.

    Raises:
        InputError: It is not known, or none is wanted and the data set defines none.
    """
    chosen = settings.evaluate_protocol
    if chosen is None:
        if not facts.protocols:
            raise InputError("the data set defines no protocol; set training.evaluate_protocol")
        chosen = next((name for name in facts.protocols if name.rpartition(":")[2] == "cc"), facts.protocols[0])
    return find_protocols(chosen)[0]


def share_out(
    person_id: NDArray[np.int64], camera_id: NDArray[np.int64], clothes_id: NDArray[np.int64], protocol: Protocol
) -> NDArray[np.object_]:
    """Roles of validation images: the first of each person, camera and outfit is a query, the others are the gallery.

    Args:
        person_id: (rows,).
        camera_id: (rows,).
        clothes_id: (rows,).
        protocol: Whose roles are given.

    Returns:
        (rows,) names of roles.
    """
    keys = np.stack([person_id, camera_id, clothes_id])
    role = np.full(len(person_id), protocol.gallery_roles[0], dtype=np.object_)
    role[np.unique(keys, axis=1, return_index=True)[1]] = protocol.query_roles[0]
    return role
