"""L_con, equation (10): the identity centres of the raw and of the shielding features are pulled together."""

import torch
from pydantic import Field
from torch import Tensor

from pipeline.losses.terms import Known, LossInputs, Term
from pipeline.settings import SettingsGroup


class CentreSettings(SettingsGroup):
    """Settings of L_con."""

    lambda_con: float = Field(0.1, ge=0, description="lambda_1, the weight of the image-image alignment L_con (10).")


def centre_alignment(raw: Tensor, shielding: Tensor, labels: Tensor, known: Known | None = None) -> Tensor:
    """Mean over the identities in the batch of || mean_k f - mean_k f^s ||^2.

    The squared distance is a SUM over channels; both sides receive gradients (mutual learning).

    Args:
        raw: f, (B, C).
        shielding: f^s, (B, C).
        labels: Identities, (B,).
        known: Of these labels; None: it is found out, and the CPU waits for the device.

    Returns:
        A scalar.
    """
    if known is None:
        members = torch.unique(labels, return_inverse=True)[1]
        counts = torch.bincount(members)
    else:
        members, counts = known.members, known.counts
    zeros = raw.new_zeros(len(counts), raw.shape[1])
    difference = zeros.index_add(0, members, raw - shielding) / counts.to(raw.dtype)[:, None]
    return difference.pow(2).sum(dim=1).mean()


def _of_streams(inputs: LossInputs) -> Tensor:
    features, labels = inputs.features, inputs.labels
    return centre_alignment(features.projected, features.shielding.projected, labels.identities, labels.known)


SETTINGS = CentreSettings
TERMS = {"centre": Term(_of_streams, needs=frozenset({"shielding"}), weight="lambda_con")}
