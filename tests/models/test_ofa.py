"""EEEA-Net-C2 and OFA-595 against their authors' networks: parameters, keys and logits."""

import numpy as np
import pytest
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.cost import parameters
from cxr_kd.models.ofa import from_published, published_key

THOUSAND = tuple(str(i) for i in range(1000))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("eeea_net_c2", 14, 4_732_838),
        ("eeea_net_c2", 1000, 5_995_904),
        ("ofa_595", 14, 7_620_446),
        ("ofa_595", 1000, 9_135_928),
    ],
)
def test_the_number_of_parameters_is_that_of_the_paper(name, labels, expected):
    with torch.device("meta"):
        assert parameters(build(name, THOUSAND[:labels])) == expected


@pytest.mark.parametrize(("name", "reference"), [("eeea_net_c2", "eeea_c2"), ("ofa_595", "ofa595_1k")])
def test_published_keys_are_the_authors(name, reference, oracle):
    with torch.device("meta"):
        state = build(name, THOUSAND).state_dict()
    rows = [line.split("\t") for line in (oracle / f"{reference}.keys.tsv").read_text().splitlines()[1:]]
    theirs = {key: int(np.prod([int(side) for side in shape.split("x")])) for key, shape in rows}
    ours = {published_key(k): v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert ours == theirs


# The reference network is ill-conditioned: with an epsilon of 2e-5 instead of 1e-5 in its batch norms, OFA-595's logits
# change by 0.9 of their standard deviation, so a tolerance of 1e-3 allows rounding errors only. They include the
# reference's own rounding: against float64, OFA-595's features are off by at most 3.4e-3, and by 3.5e-4 (RMS).
# In float32 our error depends on the number of threads of a convolution: 3e-5 with two, 5e-4 with one.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "reference"), [("eeea_net_c2", "eeea_c2"), ("ofa_595", "ofa595_1k")])
def test_agrees_with_the_authors_network(name, reference, dtype, oracle, published_state):
    model = build(name, THOUSAND).eval()
    model.load_state_dict(from_published(published_state(model), model.state_dict(), keep_head=True))
    vectors = np.load(oracle / f"{reference}.reference.npz")
    images = torch.from_numpy(np.random.default_rng(7).standard_normal((2, 3, 224, 224)).astype("float32"))
    with torch.no_grad():
        pooled = model.to(dtype).pool(model.backbone(images.to(dtype)))
        logits = model.head(pooled)
    for found, expected in ((pooled.numpy(), vectors["pooled_features"]), (logits.numpy(), vectors["logits"])):
        assert np.sqrt(np.mean((found - expected) ** 2)) < 1e-3 * expected.std()


GOLDEN = {
    "eeea_net_c2": (
        -85.58237065,
        134.2107957,
        128.4130086,
        -61.58664839,
        -170.5705275,
        209.4164737,
        -45.67556066,
        171.9428616,
        -43.06202466,
        -193.8392566,
        16.03976271,
        -190.0506826,
        35.78648745,
        262.6662926,
    ),
    "ofa_595": (
        -362.2000107,
        -717.2762191,
        -944.1978034,
        -110.4357105,
        576.1378851,
        -296.1934585,
        206.8953317,
        -255.7544937,
        96.96489354,
        1117.240512,
        301.3145133,
        643.8054019,
        -237.8975995,
        460.6439833,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_logits(name, findings, published_state):
    """Whole classifiers on an 8-bit ramp, in float64 because of the conditioning. The vector is our own."""
    model = build(name, findings, image_size=64).eval()
    model.load_state_dict(from_published(published_state(model), model.state_dict(), keep_head=True))
    ramp = (torch.arange(64 * 64) % 256).to(torch.uint8).view(1, 1, 64, 64)
    with torch.no_grad():
        logits = model.double()(ramp)[0]
    torch.testing.assert_close(logits, torch.tensor(GOLDEN[name], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_conversion_names_the_key_that_is_missing_or_has_another_shape(findings, published_state):
    model = build("eeea_net_c2", findings, image_size=64)
    state = published_state(model)
    with pytest.raises(ModelError, match=r"no 'final_expand_layer\.conv\.weight'"):
        from_published(
            {k: v for k, v in state.items() if k != "final_expand_layer.conv.weight"},
            model.state_dict(),
            keep_head=False,
        )
    state["first_conv.conv.weight"] = torch.zeros(24, 3, 3, 3)
    with pytest.raises(ModelError, match=r"'first_conv\.conv\.weight' has shape \(24, 3, 3, 3\)"):
        from_published(state, model.state_dict(), keep_head=False)


def test_conversion_without_the_head_keeps_ours(findings, published_state):
    model = build("eeea_net_c2", findings, image_size=64)
    before = model.head.output.weight.clone()
    thousand_way = published_state(build("eeea_net_c2", THOUSAND, image_size=64))
    model.load_state_dict(from_published(thousand_way, model.state_dict(), keep_head=False))
    assert torch.equal(model.head.output.weight, before)
    assert torch.equal(model.head.hidden.weight, thousand_way["feature_mix_layer.conv.weight"].flatten(1))
