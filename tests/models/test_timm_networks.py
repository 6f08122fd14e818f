"""timm's networks by name: equal to timm's own, with exact maps; networks that cannot be used are refused."""

from copy import deepcopy

import pytest
import timm
import torch
from mutations import MutationsSeen
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import maps
from cxr_kd.models.build import build
from cxr_kd.models.cost import cost_of, count_cost
from cxr_kd.models.published_weights import load_published
from cxr_kd.models.registry import info, names
from cxr_kd.models.timm_heads import extract_head
from cxr_kd.models.weights import load, save

SIZE = 64
FINDINGS = ("Mass", "Nodule", "Edema")
WELCOME = (
    "mobilenetv3_large_100",
    "efficientnet_b0",
    "convnext_tiny",
    "swin_tiny_patch4_window7_224",
    "deit_small_patch16_224",
)
# Other kinds of heads and maps: batch norm after the pooling; norms and a hidden layer, channels last; tokens of a
# network without the option to keep its norm before the mean; a name with the tag of its weights.
OTHERS = ("mobilenetv4_conv_small_050", "mambaout_femto", "xcit_nano_12_p16_224", "test_vit.r160_in1k")
MEAN_OF_TOKENS = {
    "deit_small_patch16_224": {"global_pool": "avg", "fc_norm": False},
    "test_vit.r160_in1k": {"global_pool": "avg", "fc_norm": False},
    "xcit_nano_12_p16_224": {"global_pool": "avg"},
}


@pytest.fixture(scope="module", params=(*WELCOME, *OTHERS))
def model(request):
    torch.manual_seed(0)
    return build(request.param, FINDINGS, image_size=SIZE).eval()


def radiographs(batch: int) -> torch.Tensor:
    return torch.rand(batch, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def timms_own(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    settings = MEAN_OF_TOKENS.get(name, {})
    sized = {"img_size": SIZE} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    network = timm.create_model(name, num_classes=len(FINDINGS), **settings, **sized).eval()
    torch.nn.init.normal_(network.get_classifier().weight)
    return network


def test_logits_are_those_of_timms_own_network_with_the_same_weights(model):
    theirs, ours = timms_own(model.name).double(), deepcopy(model).double()
    load_published(ours, theirs.state_dict(), keep_head=True)
    with torch.no_grad():
        expected = theirs(ours.normalise(radiographs(2)))
        found = ours(radiographs(2))
    assert expected.std() > 1e-6
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.std().item())


def test_maps_computed_in_one_pass_equal_grad_cam(model):
    model = deepcopy(model).double()
    features = model.features(radiographs(2)).detach().requires_grad_()
    logits = model.head(model.pool(features))
    with torch.no_grad():
        _, found = maps(model, radiographs(2))
    scale = found.amax().item()
    assert scale > 0
    for position in range(len(FINDINGS)):
        (gradient,) = torch.autograd.grad(logits[:, position].sum(), features, retain_graph=True)
        expected = torch.relu((gradient.sum(dim=(2, 3), keepdim=True) * features).sum(dim=1))
        torch.testing.assert_close(found[:, position], expected.detach(), rtol=1e-6, atol=1e-6 * scale)


def test_the_network_learns_from_losses_of_its_logits_and_its_maps(model):
    labels = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    model = deepcopy(model).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    losses = []
    for _ in range(3):
        logits, shown = maps(model, radiographs(4))
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimiser.zero_grad()
        (loss + 1e-3 * shown.square().mean()).backward()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_nothing_works_in_place(model):
    with torch.no_grad(), MutationsSeen() as seen:
        model(radiographs(1))
    assert seen.operations == []


def test_a_saved_model_is_rebuilt_from_its_file_alone(model, tmp_path):
    save(model, tmp_path / "model.safetensors", {})
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "model.safetensors")(radiographs(1)), model(radiographs(1)))


def test_costs_are_counted_without_weights(model):
    cost = count_cost(model.name, findings=len(FINDINGS), image_size=SIZE)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.cam_grid == tuple(model.features(radiographs(1)).shape[-2:])
    assert cost_of(model.name, SIZE).macs > 1e6


@pytest.mark.parametrize("name", [*names(), *WELCOME])
def test_every_network_trains_and_explains_at_32_px(name):
    model = build(name, FINDINGS, image_size=32).train()
    logits, shown = maps(model, torch.rand(2, 1, 32, 32))
    (logits.square().mean() + shown.mean()).backward()
    # In the last block, attention over one cell has no gradient, and no head sees DeiT's class token.
    assert sum(parameter.grad is not None for parameter in model.parameters()) > 0.9 * len(list(model.parameters()))
    assert logits.isfinite().all()
    assert shown.isfinite().all()


def test_each_token_has_the_place_of_its_patch_in_the_map():
    """Without its blocks, each cell of DeiT's map depends only on the patch at the same place."""
    model = build("deit_small_patch16_224", FINDINGS, image_size=SIZE).eval()
    model.backbone.network.blocks = torch.nn.Identity()
    changed = radiographs(1)
    changed[:, :, 16:32, 48:64] = 0.5
    with torch.no_grad():
        moved = (model.features(changed) - model.features(radiographs(1))).abs().sum(dim=1)[0]
    assert moved.nonzero().tolist() == [[1, 3]]


def test_info_of_a_timm_network_comes_from_timms_record():
    found = info("test_vit.r160_in1k")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert found.weights_file == "model.safetensors of timm/test_vit.r160_in1k on the Hugging Face hub"
    assert info("legacy_xception").weights_file.endswith("xception-43020ad28.pth")
    assert (found.kind, found.size_step, info("efficientnet_b0").kind) == ("transformer", 16, "CNN")
    seen = build("test_vit", ["Mass"], image_size=32).normalise(torch.full((1, 1, 32, 32), 255, dtype=torch.uint8))
    torch.testing.assert_close(seen, torch.ones(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("deit_tiny_distilled_patch16_224", 64, "reads the class and distillation tokens"),
        ("efficientvit_b0", 64, "sees more than the global mean of its last map"),
        ("crossvit_tiny_240", 240, "features are not one map"),
        ("volo_d1_224", 64, "17 last tokens are not a square map"),
        ("efficientformer_l1", 64, r"images of 64 px \(timm made it for 224 px\): The size of tensor"),
        ("vgg11", 64, r"runs 'pre_logits\.fc1', a Conv2d"),
        ("visformer_tiny", 40, "a map of 5 cells into patches of 2"),
        ("convnext_tiny", 50, r"multiples of 4; the nearest: 48 or 52"),
        ("deit_small_patch16_224", 40, r"multiples of 16; the nearest: 32 or 48"),
        ("vit_small_patch14_dinov2", 41, r"multiples of 14; the nearest: 42 or 56"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_with_the_reason(name, size, reason):
    with pytest.raises(ModelError, match=rf"{name} cannot .*{reason}"):
        build(name, ["Mass"], image_size=size)


@pytest.mark.parametrize(("pooling", "reason"), [("max", "AdaptiveMaxPool2d"), ("avgmax", "AdaptiveAvgMaxPool2d")])
def test_a_head_with_another_pooling_is_refused(pooling, reason):
    network = timm.create_model("resnet18", num_classes=0, global_pool=pooling).eval()
    features = torch.randn(1, 512, 2, 2)
    with pytest.raises(ModelError, match=reason):
        extract_head(network, features, features.mean(dim=(2, 3)), 3)


def test_a_head_that_sees_more_than_the_mean_is_refused():
    network = timm.create_model("resnet18", num_classes=0).eval()
    features = torch.randn(1, 512, 2, 2)
    network.forward_head = lambda x, pre_logits: x.square().mean(dim=(2, 3))
    with pytest.raises(ModelError, match="sees more than the global mean"):
        extract_head(network, features, features.mean(dim=(2, 3)), 3)
