"""Thins video: some frames of each tracklet instead of all."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def sample_frames(manifest: pa.Table, frames_per_tracklet: int | None) -> pa.Table:
    """Keep at most some evenly spaced frames of each tracklet; rows without a tracklet stay.

    Of n frames in the order of the manifest and k wanted, frame ``floor((i + 1/2) n / k)`` is kept for i = 0 .. k-1:
    the middle of each of k equal parts. The choice depends on nothing else.

    Args:
        manifest: A manifest, sorted by image_id.
        frames_per_tracklet: k; None keeps all.

    Returns:
        The rows that stay, in their order.
    """
    if frames_per_tracklet is None:
        return manifest
    if frames_per_tracklet < 1:
        raise ValueError(f"frames_per_tracklet must be at least 1, not {frames_per_tracklet}")
    column = manifest["tracklet_id"].combine_chunks()
    has_tracklet = pc.is_valid(column).to_numpy(zero_copy_only=False)
    keep = ~has_tracklet
    rows = np.flatnonzero(has_tracklet)
    tracklets = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)[rows]
    order = rows[np.argsort(tracklets, kind="stable")]
    _, sizes = np.unique(tracklets, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        wanted = min(frames_per_tracklet, size)
        chosen = (2 * np.arange(wanted) + 1) * size // (2 * wanted)
        keep[order[start + chosen]] = True
    return manifest.filter(pa.array(keep))
