"""The parameters without weight decay are those that published recipes exempt, and no others."""

import pytest
import torch

from cxr_kd.models.build import build


def undecayed(name: str, size: int = 64) -> tuple[set[str], set[str]]:
    """Return the undecayed parameters of two or more dimensions, without their prefix, and all undecayed names."""
    with torch.device("meta"):
        model = build(name, ["Mass"], image_size=size)
    names, shapes = model.undecayed(), {key: value.ndim for key, value in model.named_parameters()}
    assert names <= set(shapes)
    assert {key for key, dimensions in shapes.items() if dimensions <= 1} <= names
    return {key.removeprefix("backbone.network.") for key in names if shapes[key] > 1}, set(names)


@pytest.mark.parametrize("name", ["eeea_net_c2", "ofa_595", "densenet121", "densenet161", "convnext_tiny"])
def test_of_a_cnn_only_biases_and_norms_are_left_out(name):
    matrices, every = undecayed(name)
    assert matrices == set()
    assert "head.output.bias" in every
    assert "head.output.weight" not in every


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("visformer_s", {"pos_embed1", "pos_embed2", "pos_embed3"}),
        ("deit_small_patch16_224", {"pos_embed", "cls_token"}),
        ("xcit_nano_12_p16_224", {"cls_token", "pos_embed.token_projection.weight"}),
    ],
)
def test_position_embeddings_and_class_tokens_are_left_out(name, expected):
    assert undecayed(name)[0] == expected


@pytest.mark.parametrize("name", ["autoformer_v2_t", "swin_tiny_patch4_window7_224"])
def test_swins_tables_of_relative_positions_are_left_out(name):
    matrices, _ = undecayed(name)
    assert len(matrices) == 12  # one per block
    assert all(key.endswith("attn.relative_position_bias_table") for key in matrices)
