"""Tokenizers: what marks a text, prompts for text towers that see their padding, and files that are not there."""

import pytest
import torch
import torch.nn.functional as F
from clips import make_clip
from towers import WORDS, write_config, write_tokenizer

from pipeline.errors import InputError
from pipeline.models.prompts import PromptLearner
from pipeline.models.tokens import split_sentence

TEMPLATE = "a photo of a {} person"


@pytest.fixture(scope="module", params=["<pad>", "</s>"])
def folder(request, tmp_path_factory):
    """SigLIP 2's tokenizer pads with a token of its own, SigLIP's with the end-of-text token."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), request.param)


@pytest.fixture
def siglip(folder, tmp_path):
    config = write_config(tmp_path, "siglip")
    return make_clip(config, image_size=(64, 32), tokenizer=str(folder)).freeze()


def number(word: str) -> int:
    return 3 + WORDS.index(word)


def test_a_sentence_is_split_at_its_gap(siglip, tiny_clip_config):
    sentence = split_sentence(siglip.tokenizer, "a photo of a", "person")
    assert sentence.before.tolist() == [number(word) for word in ("a", "photo", "of", "a")]
    assert sentence.after.tolist() == [number("person"), 1]
    assert sentence.padding == int(siglip.tokenizer(["a"])[0, -1])
    own = make_clip(tiny_clip_config, image_size=(64, 32)).tokenizer
    sentence = split_sentence(own, "A photo of a", "person.")
    whole = own(["A photo of a person."])[0]
    assert torch.cat([sentence.before, sentence.after]).tolist() == whole[: int(whole.argmax()) + 1].tolist()
    assert (len(sentence.before), sentence.padding) == (5, 0)


def learner_of(clip, tokens):
    return PromptLearner(
        TEMPLATE, 3, tokens, tokenizer=clip.tokenizer, encoder=clip.text_encoder,
        context_length=clip.text_encoder.context_length, generator=torch.Generator().manual_seed(2),
    )  # fmt: skip


def test_a_prompt_of_words_is_the_sentence_as_open_clip_encodes_it(siglip):
    """Where the learnable tokens are those of words, prompt and sentence are one, padding included."""
    learner = learner_of(siglip, 2)
    words = torch.tensor([number("black"), number("hair")])
    with torch.no_grad():
        learner.context[1] = siglip.text_encoder.embed(words)
        found = learner.encode(siglip.text_encoder, torch.tensor([1]))
        expected = siglip.text_encoder.tower(siglip.tokenizer(["a photo of a black hair person"]))
    torch.testing.assert_close(found, expected)
    with pytest.raises(InputError, match=r"prompts.tokens = 11 makes a prompt of 17 tokens"):
        learner_of(siglip, 11)


def test_the_padding_counts_for_a_tower_without_mask_that_reads_the_end_token(tmp_path):
    """MobileCLIP's larger text towers: CLIP's tokenizer, no mask."""
    clip = make_clip(write_config(tmp_path, "mobile-s"), image_size=(64, 32)).freeze()
    learner = PromptLearner(
        "A photo of a {} person.", 1, 2, tokenizer=clip.tokenizer, encoder=clip.text_encoder, context_length=24,
        generator=torch.Generator(),
    )  # fmt: skip
    text = "A photo of a black hair person."
    with torch.no_grad():
        learner.context[0] = clip.text_encoder.embed(clip.tokenizer(["black hair"])[0, 1:3])
        found = learner.encode(clip.text_encoder, torch.tensor([0]))
        torch.testing.assert_close(found, clip.text_encoder.tower(clip.tokenizer([text])))


def test_prompts_of_such_a_tower_learn(siglip):
    learner = learner_of(siglip, 2)
    target = F.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), dim=1)
    optimizer = torch.optim.Adam([learner.context], lr=0.1)

    def distance():
        texts = F.normalize(learner.encode(siglip.text_encoder, torch.arange(3)), dim=1)
        return (texts - target).square().sum()

    before = float(distance().detach())
    for _ in range(10):
        optimizer.zero_grad()
        distance().backward()
        optimizer.step()
    assert float(distance().detach()) < 0.9 * before


def test_a_tokenizer_that_is_not_here_is_asked_for_in_one_line(tmp_path, monkeypatch, tiny_clip_config):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = write_config(tmp_path, "siglip")
    cases = {
        None: r"tokenizer of small-siglip cannot be had \(.*fetch tokenizer.json and tokenizer_config.json of the "
        r"repository nobody/no-such-tokenizer of huggingface.co.*model.tokenizer=/PATH",
        str(tmp_path / "none"): "model.tokenizer: there is no folder",
        str(tmp_path): "holds no tokenizer that can be read",
    }
    for folder, message in cases.items():
        with pytest.raises(InputError, match=message) as refused:
            make_clip(config, image_size=(64, 32), tokenizer=folder)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="has CLIP's own tokenizer"):
        make_clip(tiny_clip_config, image_size=(64, 32), tokenizer=str(tmp_path))
