"""Models that answer in queries, against transformers and against sums written out."""

import json

import numpy as np
import open_clip
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers_samples import ATR_LIKE, UNIVERSAL, pictures, save_universal

from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.labels import ATR, LIP
from pipeline.parsing.labelling import Labelled, scaling_taps
from pipeline.parsing.transformers.backend import create_transformers
from pipeline.parsing.transformers.loading import load_model
from pipeline.parsing.transformers.universal import (
    Queries,
    paint_panoptic,
    paint_semantic,
    summed_queries,
    surest_query,
)

SEEDS = {"maskformer": 4}
"""Of weights that are not torn between two classes on the pictures of these tests."""

SURE = 0.3
"""A threshold that some queries of random weights pass."""


@pytest.fixture(scope="module", params=UNIVERSAL)
def family(request, tmp_path_factory):
    """Type and folder of a model; not to be changed."""
    folder = tmp_path_factory.mktemp("universal")
    return request.param, save_universal(folder / "model", request.param, seed=SEEDS.get(request.param, 0))


def task_tokens(name, task):
    """As OneFormer's own processor makes them, with the tokenizer of CLIP that it is published with."""
    words = open_clip.SimpleTokenizer()
    merges = [pair for pair, _ in sorted(words.bpe_ranks.items(), key=lambda item: item[1])]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): number for word, number in words.encoder.items()}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges)
    processor = transformers.OneFormerProcessor(transformers.OneFormerImageProcessor(), tokenizer)
    return processor._preprocess_text([f"the task is {task}"], max_length=77)


def directly(family, image, task):
    """The library's own answer for an image, its processor, and mask logits (queries, height, width) of its size."""
    name, folder = family
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    network = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder).eval()
    pixels = processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"]
    more = {"task_inputs": task_tokens(name, task)} if name == "oneformer" else {}
    with torch.inference_mode():
        answer = network(pixel_values=pixels, **more)
    masks = answer.masks_queries_logits
    if name == "eomt":  # it is padded below or on the right: the image has a share of the masks
        sides = [
            2 * (torch.arange(side) + 0.5) / side * (round(side * 64 / max(image.shape[:2])) / 64) - 1
            for side in image.shape[:2]
        ]
        grid = torch.stack(torch.meshgrid(*sides, indexing="ij")[::-1], dim=2)[None]
        return (
            answer,
            processor,
            torch.nn.functional.grid_sample(masks, grid, padding_mode="border", align_corners=False)[0],
        )
    return answer, processor, torch.nn.functional.interpolate(masks, size=image.shape[:2], mode="bilinear")[0]


@pytest.mark.parametrize("shape", [(64, 48), (128, 64), (37, 91)])
def test_semantic_labels_and_confidence_are_those_of_the_papers_sum(family, shape):
    image = pictures(shape)[0]
    parsing = create_transformers(str(family[1])).parse([image])[0]
    answer, processor, masks = directly(family, image, "semantic")
    classes = answer.class_queries_logits[0].softmax(-1)[:, :-1]
    scores = torch.einsum("qc,qhw->chw", classes, masks.sigmoid())
    clear = (torch.topk(scores, 2, dim=0).values.diff(dim=0)[0].abs() > 0.02).numpy()
    assert clear.mean() > 0.1
    assert len(np.unique(parsing.label_map)) > 1
    same = parsing.label_map == scores.argmax(0).numpy()
    if family[0] == "eomt":  # its cells of 4 pixels of the network may end beside the image's edge, where it is padded
        edge = [round(side - 1.5 * 4 * max(shape) / 64) if side < max(shape) else side for side in shape]
        clear[edge[0] :], clear[:, edge[1] :] = False, False
    assert np.mean(same[clear]) > 0.99
    person = scores.argmax(0) > 0
    assert parsing.confidence == pytest.approx(float(scores.max(0).values.clamp(max=1)[person].mean()), abs=0.02)
    library = processor.post_process_semantic_segmentation(answer, target_sizes=[shape])[0].numpy()
    if family[0] != "eomt" or shape[0] == shape[1]:  # that of EoMT takes no account of its own padding
        assert np.mean(parsing.label_map[clear] == library[clear]) > 0.9


@pytest.mark.parametrize("shape", [(64, 48), (37, 91)])
def test_panoptic_labels_are_those_of_a_loop_over_masks(family, shape):
    image = pictures(shape)[0]
    parsing = create_transformers(str(family[1]), mode="panoptic", threshold=SURE).parse([image])[0]
    answer, _, masks = directly(family, image, "panoptic")
    scores, classes = answer.class_queries_logits[0].softmax(-1).max(-1)
    shares = masks.sigmoid()
    kept = [q for q in range(len(scores)) if scores[q] > SURE and classes[q] < len(ATR_LIKE)]
    weighted = torch.stack([scores[q] * shares[q] for q in kept])
    expected = np.zeros(shape, dtype=np.uint8)
    for row, query in enumerate(kept):
        own, whole = weighted.argmax(0) == row, shares[query] >= 0.5
        if own.any() and whole.any() and own.sum() / whole.sum() > 0.8:
            expected[(own & whole).numpy()] = int(classes[query])
    assert kept
    assert np.mean(parsing.label_map == expected) > 0.95


def test_an_image_does_not_depend_on_its_neighbours_nor_on_the_batch(family):
    parser = create_transformers(str(family[1]))
    images = pictures((64, 48), (128, 64), (64, 48))
    alone = [parser.parse([image])[0] for image in images]
    for one, other in zip(alone, parser.parse(images), strict=True):
        assert np.array_equal(one.label_map, other.label_map)
        assert one.confidence == other.confidence
    parser._batch_size = 2  # as on other devices; up to near ties
    for one, other in zip(alone, parser.parse(images), strict=True):
        assert np.mean(one.label_map != other.label_map) < 0.02
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_scheme_weights_and_short_types(family):
    folder = family[1]
    parser = create_transformers(str(folder), precision="bf16")
    assert parser.scheme is ATR
    assert parser.weights_sha256 == sha256_of_file(folder / "model.safetensors")
    image = pictures((64, 48))[0]
    full = create_transformers(str(folder)).parse([image])[0]
    assert np.mean(parser.parse([image])[0].label_map == full.label_map) > 0.8
    mapped = create_transformers(str(folder), scheme="lip", labels={"Belt": "pants", "Bag": "background"})
    assert mapped.scheme == LIP


def test_the_tasks_words_are_numbered_as_oneformers_processor_does(tmp_path):
    loaded = load_model(str(save_universal(tmp_path, "oneformer")))
    for task in ("semantic", "panoptic"):
        assert torch.equal(loaded.inputs(task)["task_inputs"], task_tokens("oneformer", task))


def test_oneformer_needs_no_file_of_class_names(tmp_path):
    """Its published processors name one that transformers would download."""
    save_universal(tmp_path, "oneformer")
    file = tmp_path / "preprocessor_config.json"
    named = {"repo_path": "shi-labs/oneformer_demo", "class_info_file": "ade20k_panoptic.json"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **named}))
    assert create_transformers(str(tmp_path)).scheme is ATR


def test_eomt_that_is_saved_with_overlapping_squares_sees_the_whole_image(tmp_path):
    one, other = (save_universal(tmp_path / name, "eomt") for name in ("padded", "split"))
    transformers.EomtImageProcessor(
        size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True
    ).save_pretrained(other)
    image = pictures((128, 48))[0]
    maps = [create_transformers(str(each)).parse([image])[0].label_map for each in (one, other)]
    assert maps[0].shape == (128, 48)
    assert np.array_equal(*maps)


def test_padding_to_one_size_is_refused(tmp_path):
    save_universal(tmp_path, "mask2former")
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_size": {"height": 96, "width": 96}}))
    with pytest.raises(InputError, match=r"pads its images to one size \(pad_size"):
        load_model(str(tmp_path))


def test_classes_without_a_background_get_one_for_what_no_mask_holds(tmp_path):
    save_universal(tmp_path / "things", "mask2former", ["person", "shirt", "sky"])
    parser = create_transformers(str(tmp_path / "things"), mode="panoptic", threshold=SURE)
    assert parser.scheme.labels == ("background", "person", "shirt", "sky")
    assert parser.scheme.clothes == {2}
    sure = create_transformers(str(tmp_path / "things"), mode="panoptic", threshold=1 - 1e-9)
    parsing = sure.parse(pictures((64, 48)))[0]
    assert not parsing.label_map.any()
    assert parsing.confidence == 0
    with pytest.raises(InputError, match="do not tell which one is the background"):
        create_transformers(str(tmp_path / "things"))


def test_the_mode_must_suit_the_model(atr_folder):
    with pytest.raises(InputError, match=r"panoptic is for universal models .* is a segformer, .*use semantic"):
        create_transformers(str(atr_folder), mode="panoptic")
    with pytest.raises(InputError, match=r"threshold goes with parse\.settings\.mode: panoptic"):
        create_transformers(str(atr_folder), threshold=0.5)


def queries(classes, *masks):
    """Queries with these class probabilities (the last is none) and masks of probabilities, one row of pixels each."""
    return Queries(torch.tensor(classes), torch.logit(torch.tensor(masks), eps=1e-6)[:, None, :])


def painted(paint, asked, *more):
    width = asked.masks.shape[2]
    return paint(asked, scaling_taps(1, 1), scaling_taps(width, width), torch.tensor([0, 7, 9]), *more)


def test_semantic_probabilities_are_summed_over_queries():
    asked = queries([[0, 0.6, 0.3, 0.1], [0, 0.1, 0.8, 0.1], [0.9, 0, 0, 0.1]], [1, 1, 0.0], [0.3, 1, 0], [0, 0, 1])
    parsing = painted(paint_semantic, asked)
    # first pixel: 0.6 + 0.03 and 0.3 + 0.24; second: 0.7 and 1.1, which counts as 1; third: background
    assert parsing.label_map.tolist() == [[7, 9, 0]]
    assert parsing.confidence == pytest.approx((0.63 + 1) / 2, abs=1e-4)


def test_panoptic_masks_that_are_unsure_hidden_or_no_object_are_left_out():
    clear = [0, 0.9, 0.05, 0.05]
    asked = queries(
        [clear, [0, 0.0, 0.85, 0.15], [0, 0.7, 0.2, 0.1], [0, 0, 0.1, 0.9]],
        [1, 1, 0.4, 0.0, 0],  # two pixels of label 7; in the third it is ahead but below one half
        [0, 1, 0.0, 0.0, 0],  # hidden by the first
        [0, 0, 0.0, 1.0, 0],  # not surer than the threshold
        [0, 0, 0.0, 0.0, 1],  # no object
    )
    parsing = painted(paint_panoptic, asked, 0.8)
    assert parsing.label_map.tolist() == [[7, 7, 0, 0, 0]]
    assert parsing.confidence == pytest.approx(0.9, abs=1e-4)
    assert painted(paint_panoptic, asked, 0.69).label_map.tolist() == [[7, 7, 0, 7, 0]]
    none = painted(paint_panoptic, asked, 0.95)
    assert (none.label_map.tolist(), none.confidence) == ([[0] * 5], 0)


def on_a_device(asked, rows, columns, numbers, decide):
    """The parse as a device makes it, without a wait between its steps."""
    labelled = Labelled(torch.cat([numbers, numbers.new_zeros(1)]).to(torch.uint8))
    labelled.add(asked.masks, rows, columns, decide)
    labelled.send()
    (parsing,) = labelled.take()
    return parsing


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_a_device_decides_as_a_cpu_does(seed, threshold):
    """Though it looks at all queries, also at those that are left out."""
    generator = torch.Generator().manual_seed(seed)
    asked = Queries(
        (4 * torch.randn(9, 4, generator=generator)).softmax(dim=1), 8 * torch.randn(9, 5, 6, generator=generator)
    )
    rows, columns, numbers = scaling_taps(5, 17), scaling_taps(6, 11), torch.tensor([0, 7, 9])
    for expected, found in (
        (
            paint_panoptic(asked, rows, columns, numbers, threshold),
            on_a_device(asked, rows, columns, numbers, surest_query(asked, rows, columns, threshold)),
        ),
        (
            paint_semantic(asked, rows, columns, numbers),
            on_a_device(asked, rows, columns, numbers, summed_queries(asked)),
        ),
    ):
        assert np.array_equal(found.label_map, expected.label_map)
        assert found.confidence == pytest.approx(expected.confidence, abs=1e-6)
