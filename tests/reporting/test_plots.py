"""Plots are well-formed, draw the numbers they are given, take the page's colours, and are the same on every run."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reporting.plots import curve, histogram, sweep


def drawn_points(svg):
    """Points of the line that has the page's accent colour, in the drawing's units (y grows downwards)."""
    for path in ElementTree.fromstring(svg).iter("path"):
        style = path.get("style", "")
        if "stroke: var(--accent)" in style and "clip-path" in path.attrib:
            numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path.get("d", ""))]
            return np.array(numbers).reshape(-1, 2)
    raise AssertionError("no line")


def test_a_curve_goes_through_its_values_in_proportion():
    values = np.array([4.0, 3.0, 2.5, 2.75, 1.0])
    points = drawn_points(curve("total by epoch", [0, 1, 2, 3, 4], values.tolist()))
    heights = points[:, 1].max() - points[:, 1]
    assert np.allclose(heights / heights.max(), (values - 1) / 3, atol=1e-4)
    assert np.allclose(np.diff(points[:, 0]), np.diff(points[:, 0])[0], atol=1e-4)


def test_the_same_numbers_give_the_same_bytes_and_others_do_not():
    assert curve("a", [0, 1], [1.0, 2.0]) == curve("a", [0, 1], [1.0, 2.0])
    assert curve("a", [0, 1], [1.0, 2.0]) != curve("a", [0, 1], [1.0, 2.5])
    assert histogram("a", [0.1, 0.4]) == histogram("a", [0.1, 0.4])


def test_two_plots_on_one_page_share_no_id():
    found = [
        re.findall(r'id="([^"]*)"', str(svg))
        for svg in (curve("a", [0, 1], [1.0, 2.0]), curve("b", [0, 1], [1.0, 2.0]), histogram("a", [0.2]))
    ]
    ids = [name for names in found for name in names]
    assert ids
    assert len(ids) == len(set(ids))


def test_references_lead_to_ids_of_the_same_plot():
    svg = str(curve("a", [0, 1, 2], [1.0, 2.0, 0.0]))
    used = set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg))
    assert used
    assert used <= set(re.findall(r'id="([^"]*)"', svg))


def test_plots_have_no_style_sheet_date_fixed_size_or_colour_of_their_own():
    for svg in map(str, (curve("a", [0, 1], [1.0, 2.0]), histogram("a", [0.2]))):
        assert svg.startswith("<svg ")
        assert "<style" not in svg
        assert "<metadata" not in svg
        assert "http" not in svg
        assert re.findall(r"#[0-9a-f]{6}", svg) == []
        assert 'height="1' not in svg.split(">")[0]


def test_titles_are_escaped():
    root = ElementTree.fromstring(curve('<b>"&\\1', [0], [1.0]))
    assert root.get("aria-label") == '<b>"&\\1'


def test_a_single_epoch_is_seen_as_a_dot():
    svg = curve("a", [0], [2.0])
    assert [use for use in ElementTree.fromstring(svg).iter("use") if "var(--accent)" in use.get("style", "")]


@pytest.mark.parametrize(("epochs", "values"), [([], []), ([0, 1], [1.0])])
def test_nothing_to_draw_is_an_error(epochs, values):
    with pytest.raises(ValueError, match="epochs and"):
        curve("a", epochs, values)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_histogram_bars_are_as_high_as_the_counts(values):
    counts = np.zeros(25)
    for value in values:
        counts[min(24, np.searchsorted(np.arange(1, 25) / 25, value, side="right"))] += 1
    svg = histogram("a", values)
    bars = [
        np.array([float(number) for number in re.findall(r"-?\d+\.?\d*", path.get("d", ""))]).reshape(-1, 2)
        for path in ElementTree.fromstring(svg).iter("path")
        if "fill: var(--accent)" in path.get("style", "")
    ]
    heights = np.array([np.ptp(bar[:, 1]) for bar in bars])
    assert np.allclose(heights / heights.max(), counts / counts.max(), atol=1e-3)


def test_a_sweep_shows_its_values_and_is_the_same_every_time():
    drawn = sweep("mAP by weight", ["0.01", "0.1", "1.0"], [20.0, 25.5, 22.0], [1.0, 2.0, 0.5])
    assert drawn == sweep("mAP by weight", ["0.01", "0.1", "1.0"], [20.0, 25.5, 22.0], [1.0, 2.0, 0.5])
    assert all(f">{label}</text>" in drawn for label in ("0.01", "0.1", "1.0"))
    assert 'aria-label="mAP by weight"' in drawn
    assert drawn != sweep("mAP by weight", ["0.01", "0.1", "1.0"], [20.0, 25.5, 22.0], [1.0, 2.0, 0.6])


@pytest.mark.parametrize(("means", "deviations"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_a_sweep_of_other_lengths_is_refused(means, deviations):
    with pytest.raises(ValueError, match="labels"):
        sweep("x", ["a", "b"] if means else [], means, deviations)
