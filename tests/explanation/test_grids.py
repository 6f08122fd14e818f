"""Every form of maps keeps the prediction, puts evidence where it belongs, and the forms agree with each other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import upsample
from cxr_kd.explanation.methods.dense import atrous
from cxr_kd.explanation.methods.grids import FORMS, Form, explainer, parse
from cxr_kd.explanation.methods.stitch import cell_shifts, interleave, moved, stitched
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import HardswishHead, Head, LinearHead

FINDINGS = ("Mass", "Nodule")
GRIDS = [name for name in FORMS if not name.startswith("layercam")]  # forms of Grad-CAM, which have gradients


def classifier(size: int, backbone: nn.Module, head: Head) -> CxrClassifier:
    return CxrClassifier("tiny", FINDINGS, size, backbone, head, mean=[0] * 3, std=[1] * 3).double().eval()


def without_padding(size: int = 64) -> CxrClassifier:
    """A network whose cells of 8 px see their own 8 px and nothing else."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 6, 2, 2), nn.Tanh(), nn.Conv2d(6, 6, 2, 2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 5, 1)
    )
    head = HardswishHead(5, 7, len(FINDINGS))
    nn.init.normal_(head.output.weight)
    return classifier(size, backbone, head)


def spotter(size: int) -> CxrClassifier:
    """A network of stride 8 whose evidence for both findings is the brightness around the centre of its cell."""
    kernel = torch.tensor([1.0, 3, 3, 1]) / 8
    layers = [nn.Conv2d(channels, 1, 4, 2, 1, bias=False) for channels in (3, 1, 1)]
    for layer in layers:
        layer.weight.data = (kernel[:, None] * kernel).expand_as(layer.weight).clone()
    head = LinearHead(1, len(FINDINGS))
    nn.init.ones_(head.output.weight)
    return classifier(size, nn.Sequential(*layers), head)


def noise(batch: int, size: int = 64) -> torch.Tensor:
    return torch.rand(batch, 1, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("factor", [2, 4])
def test_a_trous_and_shift_and_stitch_agree_without_padding_effects(factor):
    model = without_padding()
    with torch.no_grad():
        logits, dense = explainer(model, f"atrous{factor}")(noise(3))
        same_logits, shifted = explainer(model, f"shift{factor}")(noise(3))
    assert dense.shape == shifted.shape == (3, 2, 8 * factor, 8 * factor)
    assert torch.equal(logits, same_logits)
    inside = (..., slice(-factor + 1), slice(-factor + 1))  # the last cells see padding or the repeated border
    torch.testing.assert_close(dense[inside], shifted[inside])
    assert (dense - shifted).abs().max() > 0.01  # the border


def test_the_forms_agree_on_the_whole_map_where_the_border_is_empty():
    model = without_padding()
    for layer in model.backbone:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.bias)
    images = F.pad(noise(2, 48), (8, 8, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(explainer(model, "atrous4")(images)[1], explainer(model, "shift4")(images)[1])


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "eeea_net_c2"])
def test_the_forms_agree_closely_inside_the_map_of_real_networks(name):
    torch.manual_seed(0)
    model = build(name, FINDINGS, image_size=160).eval()
    images = F.interpolate(torch.rand(2, 1, 10, 10, generator=torch.Generator().manual_seed(0)), size=160)
    with torch.no_grad():
        (_, dense), (_, shifted) = (explainer(model, form)(images) for form in ("atrous2", "shift2"))
    inner = (..., slice(2, -2), slice(2, -2))
    correlation = torch.corrcoef(torch.stack([dense[inner].flatten(), shifted[inner].flatten()]))[0, 1]
    assert correlation > 0.8


@pytest.mark.parametrize("form", FORMS)
def test_every_form_keeps_the_prediction_and_says_its_grid(form):
    torch.manual_seed(0)
    model = build("eeea_net_c2", FINDINGS, image_size=64).eval()
    images = noise(5).float()
    with torch.inference_mode():
        expected = model(images)
        logits, evidence = explainer(model, form)(images)
    finer = parse(form).finer
    torch.testing.assert_close(logits, expected)
    assert evidence.shape == (5, 2, 2 * finer, 2 * finer)
    assert evidence.isfinite().all()


@pytest.mark.parametrize("form", GRIDS)
def test_one_bright_spot_has_its_maximum_at_the_spot(form):
    size, finer = 96, parse(form).finer
    explain = explainer(spotter(size), form)
    places = torch.arange(size)
    misses = []
    for row, column in [(20, 71), (37, 42), (50, 33), (61, 58), (74, 25), (28, 28), (45, 64), (69, 47)]:
        squares = (places[:, None] - row).square() + (places - column).square()
        image = torch.exp(-squares.double() / 8)[None, None]
        with torch.no_grad():
            large = upsample(explain(image)[1], size)[0, 1]
        found = large.flatten().argmax().item()
        misses.append((found // size - row, found % size - column))
    cell = 8 / finer
    missed = torch.tensor(misses).double()
    assert missed.abs().max() <= cell / 2 + 1  # px: the spot is in the cell, or on its edge
    assert missed.mean(dim=0).abs().max() <= max(1.5, cell / 4)  # as often on one side as on the other


def test_without_moving_the_image_the_dense_map_would_be_off_its_place():
    """The test above sees a shift of half a cell: the copy's own cells begin at the centre of the first cell."""
    model, size = spotter(96), 96
    places = torch.arange(size)
    image = torch.exp(-((places[:, None] - 50).square() + (places - 33).square()).double() / 8)[None, None]
    features = atrous(model, 4).features(image)
    found = upsample(model.evidence(features, model.pool(features)), size)[0, 1].flatten().argmax().item()
    assert (found // size - 50, found % size - 33) == (-3, -3)


def test_stitching_works_for_a_transformer():
    torch.manual_seed(0)
    model = build("visformer_s", FINDINGS, image_size=64).eval()
    images = noise(2).float()
    with torch.no_grad():
        logits, evidence = explainer(model, "shift2")(images)
        features = model.features(images)
        pooled = model.pool(features)
        upper_right = model.evidence(model.features(moved(images, 8, -8)), pooled)
    torch.testing.assert_close(logits, model.head(pooled))
    torch.testing.assert_close(evidence[..., ::2, 1::2], upper_right)


@pytest.mark.parametrize("form", ["atrous2", "shift2"])
def test_a_batch_gives_what_its_images_give_alone_in_passes_of_a_bounded_size(form):
    model = without_padding(16)
    images = noise(2 * parse(form).images_at_once + 1, 16)
    sizes = []
    hook = model.backbone[0].register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    with torch.no_grad():
        logits, evidence = explainer(model, form)(images)
        hook.remove()
        alone_logits, alone = explainer(model, form)(images[-1:])
    assert max(sizes) <= parse(form).images_at_once
    torch.testing.assert_close(logits[-1:], alone_logits)
    torch.testing.assert_close(evidence[-1:], alone)


@pytest.mark.parametrize("form", GRIDS)
def test_evidence_has_gradients_in_image_and_weights_and_bytes_are_taken(form):
    model = without_padding(16)
    images = noise(1, 16).requires_grad_()
    explainer(model, form)(images)[1].square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0
    assert model.backbone[0].weight.grad.abs().max() > 0
    octets = (noise(1, 16) * 255).to(torch.uint8)
    with torch.no_grad():
        from_bytes, from_floats = (explainer(model, form)(each)[1] for each in (octets, octets.double() / 255))
    torch.testing.assert_close(from_bytes, from_floats)


def test_shifts_lie_evenly_around_the_centre_of_the_cell():
    assert cell_shifts(224, 7, 2) == [-8, 8]
    assert cell_shifts(224, 7, 4) == [-12, -4, 4, 12]
    assert cell_shifts(96, 3, 3) == [-11, 0, 11]  # in whole px
    with pytest.raises(ModelError, match="a grid of 128 cells per side is finer than the image's 96 px"):
        cell_shifts(96, 32, 4)


def test_moved_content_keeps_its_values_and_the_border_is_repeated():
    image = torch.arange(9).view(1, 1, 3, 3)
    assert moved(image, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert moved(image, 0, -2)[0, 0].tolist() == [[2, 2, 2], [5, 5, 5], [8, 8, 8]]
    assert torch.equal(moved(image, 0, 0), image)


def test_interleaving_puts_each_part_at_every_nth_cell():
    parts = torch.rand(2, 3, 4, 5, 2, 2)
    whole = interleave(parts)
    assert whole.shape == (2, 3, 8, 10)
    for row in range(2):
        for column in range(2):
            assert torch.equal(whole[..., row::2, column::2], parts[..., row, column])


def test_unknown_forms_and_factors_are_refused_by_name():
    allowed = "plain, atrous2, atrous4, shift2, shift4"
    for name in ("atrous3", "Plain", "", "shift"):
        with pytest.raises(ModelError, match=f"unknown form of maps '{name}'; allowed are: {allowed}"):
            parse(name)
    with pytest.raises(ModelError, match="the factor of a finer grid is 2 or more, got 1"):
        stitched(without_padding(), 1)


def test_a_new_form_is_one_description_with_its_factory():
    form = Form("nothing", "no evidence", 1, "none", 2, lambda model: lambda images: (images[:, 0], images))
    logits, evidence = explainer(without_padding(), form)(noise(5))
    assert torch.equal(logits, noise(5)[:, 0])
    assert torch.equal(evidence, noise(5))


def test_a_study_can_name_every_form_and_no_other():
    from typing import get_args

    from cxr_kd.report.maps.check_tables import FORM_TITLES
    from cxr_kd.study.settings import MapForm

    assert set(get_args(MapForm)) == set(FORMS) == set(FORM_TITLES)
