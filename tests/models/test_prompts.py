"""Prompts: with real words in place of the learnable tokens they must be the sentence's own text feature."""

import pytest
import torch
from clips import make_clip

from pipeline.errors import InputError
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner


@pytest.fixture(scope="module")
def clip(tiny_clip_config):
    return make_clip(tiny_clip_config, image_size=(64, 32)).freeze()


def make_prompts(clip, template: str, classes: int, tokens: int) -> PromptLearner:
    return PromptLearner(
        template,
        classes,
        tokens,
        tokenizer=clip.tokenizer,
        encoder=clip.text_encoder,
        context_length=clip.text_encoder.context_length,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize(("template", "sentence"), [
    (IDENTITY_TEMPLATE, "A photo of a tall happy old blond person."),
    (CLOTHES_TEMPLATE, "A photo of tall happy old blond clothes."),
])  # fmt: skip
def test_words_in_the_slots_give_the_sentence(clip, template, sentence):
    prompts = make_prompts(clip, template, 2, 4)
    words = clip.tokenizer(["tall happy old blond"])[0, 1:5]
    with torch.no_grad():
        prompts.context[1] = clip.text_encoder.embed(words)
        actual = prompts.encode(clip.text_encoder, torch.tensor([1]))
        expected = clip.text_encoder.tower(clip.tokenizer([sentence]))
    torch.testing.assert_close(actual, expected)


def test_only_the_tokens_of_the_encoded_classes_get_a_gradient(clip):
    prompts = make_prompts(clip, IDENTITY_TEMPLATE, 3, 4)
    prompts.encode(clip.text_encoder, torch.tensor([2, 0])).sum().backward()
    gradient = prompts.context.grad.abs().sum(dim=(1, 2))
    assert gradient[0] > 0
    assert gradient[2] > 0
    assert gradient[1] == 0
    assert all(parameter.grad is None for parameter in clip.text_encoder.parameters())
    assert [name for name, _ in prompts.named_parameters()] == ["context"]


def test_encoding_in_chunks_changes_nothing(clip):
    prompts = make_prompts(clip, CLOTHES_TEMPLATE, 5, 2)
    torch.testing.assert_close(
        prompts.encode_all(clip.text_encoder, chunk=2), prompts.encode_all(clip.text_encoder, chunk=99)
    )


def test_chunks_have_the_same_gradient_and_never_encode_more_at_once(clip):
    gradients, sizes = [], []
    weights = torch.randn(5, 24, generator=torch.Generator().manual_seed(1))
    hook = clip.text_encoder.tower.transformer.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    for chunk in (99, 2):
        prompts = make_prompts(clip, CLOTHES_TEMPLATE, 7, 2)
        features = prompts.encode(clip.text_encoder, torch.tensor([6, 0, 3, 1, 2]), chunk=chunk)
        (features * weights).sum().backward()
        gradients.append(prompts.context.grad)
    hook.remove()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)
    assert gradients[1][4].abs().sum() == 0  # a class that is not in the batch
    assert sizes == [5, 2, 2, 1, *sizes[4:]]
    assert sorted(sizes[4:]) == [1, 2, 2]  # once more, in the backward pass


def test_too_many_tokens_are_refused(clip):
    with pytest.raises(InputError, match=r"prompts\.tokens = 40"):
        make_prompts(clip, IDENTITY_TEMPLATE, 2, 40)
