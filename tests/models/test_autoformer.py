"""AutoFormerV2-T against its authors' network: parameters, keys and logits; and its windows at other sizes."""

import numpy as np
import pytest
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.cost import count_cost
from cxr_kd.models.published_weights import load_published

THOUSAND = tuple(str(i) for i in range(1000))
TABLE = "layers.2.blocks.1.attn.relative_position_bias_table"


def test_the_number_of_parameters_is_the_published_number():
    assert count_cost("autoformer_v2_t", findings=1000).parameters == 28_328_674


def test_published_keys_are_the_authors(oracle, autoformer_state):
    with torch.device("meta"):
        model = build("autoformer_v2_t", THOUSAND)
    rows = [line.split("\t") for line in (oracle / "autoformerv2_tiny.keys.tsv").read_text().splitlines()[1:]]
    assert {key: "x".join(map(str, value.shape)) for key, value in autoformer_state(model).items()} == dict(rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_the_authors_network(dtype, oracle, autoformer_state):
    model = build("autoformer_v2_t", THOUSAND).eval()
    load_published(model, autoformer_state(model), keep_head=True)
    vectors = np.load(oracle / "autoformerv2_tiny.reference.npz")
    images = torch.from_numpy(np.random.default_rng(7).standard_normal((2, 3, 224, 224)).astype("float32"))
    with torch.no_grad():
        pooled = model.to(dtype).pool(model.backbone(images.to(dtype)))
        logits = model.head(pooled)
    for found, expected in ((pooled.numpy(), vectors["pooled_features"]), (logits.numpy(), vectors["logits"])):
        assert np.abs(found - expected).max() < 1e-4 * expected.std()


GOLDEN = (
    -0.8539037136,
    1.186646274,
    -0.8305551367,
    0.5308288284,
    0.6614606474,
    -1.611557037,
    0.4068574914,
    0.06835233991,
    -0.3231578743,
    -0.8857144194,
    -1.547505165,
    2.561708358,
    -1.118416385,
    -0.5991142287,
)


def test_golden_logits(findings, autoformer_state):
    """The whole classifier on an 8-bit ramp at 64 px, in float64. The vector is our own, so no folder is needed."""
    model = build("autoformer_v2_t", findings, image_size=64).eval()
    load_published(model, autoformer_state(model), keep_head=True)
    ramp = (torch.arange(64 * 64) % 256).to(torch.uint8).view(1, 1, 64, 64)
    with torch.no_grad():
        logits = model.double()(ramp)[0]
    torch.testing.assert_close(logits, torch.tensor(GOLDEN, dtype=torch.float64), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "windows", "shifts"),
    [(224, (7, 7, 14, 7), (3, 3, 0, 0)), (64, (7, 7, 4, 2), (3, 3, 0, 0)), (32, (7, 4, 2, 1), (3, 0, 0, 0))],
)
def test_windows_are_at_most_as_large_as_their_map_and_do_not_shift_if_they_cover_it(size, windows, shifts):
    with torch.device("meta"):
        stages = build("autoformer_v2_t", ["Mass"], image_size=size).backbone.network.layers
    for stage, window, shift in zip(stages, windows, shifts, strict=True):
        assert [block.window_size for block in stage.blocks] == [(window, window)] * len(stage.blocks)
        assert [block.shift_size for block in stage.blocks] == [(0, 0), (shift, shift)] * (len(stage.blocks) // 2)


def test_published_position_biases_are_kept_for_the_distances_of_smaller_windows(findings, autoformer_state):
    large, small = (build("autoformer_v2_t", findings, image_size=size) for size in (224, 64))
    state = autoformer_state(large)
    rows = torch.linspace(-1, 1, 27)  # a bias that grows with the distance in rows, over 2 * 14 - 1 distances
    state[TABLE] = rows.repeat_interleave(27).unsqueeze(1).expand(-1, 12).clone()
    load_published(small, state)
    found = small.backbone.network.get_parameter(TABLE).view(7, 7, 12)  # windows of 4 cells
    expected = rows[13 - 3 : 13 + 4].view(7, 1, 1).expand(7, 7, 12)  # the same distances in cells
    torch.testing.assert_close(found.detach(), expected, rtol=0.02, atol=1e-5)
    assert torch.equal(small.backbone.network.patch_embed.proj.weight, state["patch_embed.proj.weight"])


def test_another_networks_weights_are_refused(findings, autoformer_state):
    model = build("autoformer_v2_t", findings, image_size=64)
    state = autoformer_state(model)
    del state["norm.weight"]
    with pytest.raises(ModelError, match=r"have no 'norm\.weight'"):
        load_published(model, state)
    with pytest.raises(ModelError, match=r"another network"):
        load_published(model, {"head.layers.relative_position_bias_table": torch.zeros(3, 3)})
