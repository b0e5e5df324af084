"""A small SAM 3 of random weights, saved as the public one is."""

import json

import torch
from safetensors.torch import load_file, save_file

SIDE = 112
"""Of the network's input, in pixels."""


def tokenizer():
    """A tokenizer of CLIP's kind that knows letters and a few words."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    merges = [("h", "a"), ("ha", "t</w>"), ("c", "o"), ("co", "at</w>"), ("a", "t</w>")]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    names = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: number for number, name in enumerate(names)}, merges=merges), len(names)


def config(words):
    from transformers import Sam3Config

    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": SIDE, "patch_size": 14, "window_size": 4,
                "global_attn_indexes": [1], "pretrain_image_size": 56,
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            "model_type": "clip_text_model", "vocab_size": words, "hidden_size": 32, "intermediate_size": 32,
            "projection_dim": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32,
            "hidden_act": "gelu", "bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1,
        },
        geometry_encoder_config=small,
        detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 6},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )  # fmt: skip


def save_sam3(folder, seed=0):
    """Write a model with its processors; returns the folder."""
    from transformers import Sam3ImageProcessor, Sam3Model, Sam3Processor

    words, count = tokenizer()
    torch.manual_seed(seed)
    network = Sam3Model(config(count)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # as initialised, all phrases would find the same everywhere
        for name, values in network.named_parameters():
            if values.dim() > 1:
                values.normal_(0, 0.25, generator=generator)
            elif "bias" in name:
                values.normal_(0, 0.1, generator=generator)
    network.save_pretrained(folder)
    images = Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}, mask_size={"height": 32, "width": 32})
    Sam3Processor(images, words).save_pretrained(folder)
    return folder


def as_published(folder):
    """The same model as the hub has it: beside the tracker of videos, whose configuration holds it."""
    inner = json.loads((folder / "config.json").read_text())
    outer = {"model_type": "sam3_video", "architectures": ["Sam3VideoModel"], "detector_config": inner}
    (folder / "config.json").write_text(json.dumps(outer))
    tensors = {f"detector_model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    tensors |= {"tracker_model.mask_decoder.weight": torch.zeros(3), "tracker_neck.conv.bias": torch.zeros(2)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
