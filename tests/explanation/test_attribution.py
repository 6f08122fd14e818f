"""SHAP, integrated gradients and occlusion: exact on a linear network, and they say by how much they do not add up."""

import numpy as np
import pytest
import torch
from small_models import radiographs
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.reference_maps import integrated_gradients, occlusion, path_attribution
from cxr_kd.explanation.methods.shap_values import MASKERS, gradient_shap, partition_shap
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import LinearHead

FINDINGS = ("Mass", "Nodule", "Edema")
SIZE = 8


class Squeezed(nn.Module):
    """All pixels as the channels of one cell."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1].flatten(1)[:, :, None, None]


def linear_model() -> CxrClassifier:
    """A network whose logits are W x + b of the pixels."""
    torch.manual_seed(0)
    head = LinearHead(SIZE * SIZE, len(FINDINGS))
    nn.init.normal_(head.output.weight)
    nn.init.normal_(head.output.bias)
    return CxrClassifier("linear", FINDINGS, SIZE, Squeezed(), head, mean=(0.0,) * 3, std=(1.0,) * 3).eval()


def curved_model() -> CxrClassifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Tanh())
    head = LinearHead(6, len(FINDINGS))
    nn.init.normal_(head.output.weight, std=5)
    return CxrClassifier("curved", FINDINGS, SIZE, backbone, head, mean=(0.5,) * 3, std=(0.25,) * 3).eval()


def weights(model: CxrClassifier, *findings: str) -> torch.Tensor:
    rows = [FINDINGS.index(finding) for finding in findings]
    return model.head.output.weight.detach()[rows].reshape(1, -1, SIZE, SIZE)


def images() -> torch.Tensor:
    return radiographs(2, SIZE)


def test_gradient_shap_of_a_linear_model_with_one_background_image_is_exact():
    model, background = linear_model(), torch.full((1, 1, SIZE, SIZE), 0.25)
    found = gradient_shap(model, images(), background, ["Edema", "Mass"], samples=3)
    expected = weights(model, "Edema", "Mass") * (images() - background)
    torch.testing.assert_close(found.values.float(), expected, rtol=1e-4, atol=1e-5)
    assert found.gap.abs().max() < 1e-4
    assert found.findings == ("Edema", "Mass")


def test_gradient_shap_of_one_finding_and_several_background_images_is_right_on_average():
    model = linear_model()
    background = torch.rand(5, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    found = gradient_shap(model, images(), background, ["Nodule"], samples=2000, batch_size=500)
    expected = weights(model, "Nodule") * (images() - background.mean(dim=0))
    torch.testing.assert_close(found.values.float(), expected, rtol=0, atol=0.1)
    with torch.no_grad():
        torch.testing.assert_close(found.base[0, 0], model(background)[:, 1].mean())


def test_more_samples_make_the_gap_of_gradient_shap_smaller():
    model, background = curved_model(), radiographs(6, SIZE)[2:]
    few = gradient_shap(model, images(), background, FINDINGS, samples=4)
    many = gradient_shap(model, images(), background, FINDINGS, samples=400)
    assert 0 < many.gap.abs().mean() < few.gap.abs().mean() / 3


def test_shap_leaves_gradients_and_random_state_alone():
    model = curved_model()
    model.head.output.weight.grad = torch.ones_like(model.head.output.weight)
    before = np.random.get_state()[1].copy()
    with torch.inference_mode():
        first = gradient_shap(model, images(), images(), FINDINGS, samples=4, seed=1)
    assert (model.head.output.weight.grad == 1).all()
    assert (np.random.get_state()[1] == before).all()
    partition_shap(model, images(), FINDINGS, evaluations=20)
    assert (np.random.get_state()[1] == before).all()
    again = gradient_shap(model, images(), images(), FINDINGS, samples=4, seed=1)
    other = gradient_shap(model, images(), images(), FINDINGS, samples=4, seed=2)
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)


@pytest.mark.parametrize("masker", MASKERS)
def test_partition_shap_of_a_linear_model_adds_up(masker, capsys):
    model = linear_model()
    found = partition_shap(model, images(), ["Mass", "Edema"], masker=masker, evaluations=60)
    assert found.values.shape == (2, 2, SIZE, SIZE)
    # Inpainting rounds to 8 bits, the wholly visible image too.
    assert found.gap.abs().max() < (1e-3 if masker == "blur" else 0.2)
    printed = capsys.readouterr().out
    assert printed.count("additivity gap") == 2
    assert all(finding in printed for finding in ("Mass", "Edema", masker))


def test_partition_shap_of_a_linear_model_is_exact_for_pixels():
    import cv2

    model = linear_model()
    found = partition_shap(model, images(), FINDINGS, evaluations=64 * 64, batch_size=256)
    blurred = np.stack([cv2.blur(image[0].numpy() * 255, (SIZE // 4, SIZE // 4)) / 255 for image in images()])
    expected = weights(model, *FINDINGS) * (images() - torch.from_numpy(blurred)[:, None])
    torch.testing.assert_close(found.values.float(), expected, rtol=1e-3, atol=1e-4)


def test_integrated_gradients_of_a_linear_model_are_exact():
    model = linear_model()
    with torch.inference_mode():
        logits, found = integrated_gradients(model, baseline=0.5, steps=2)(images())
    torch.testing.assert_close(logits, model(images()).detach())
    torch.testing.assert_close(found.float(), weights(model, *FINDINGS) * (images() - 0.5))


def test_integrated_gradients_add_up_and_say_by_how_much_they_do_not():
    model = curved_model()
    rough = path_attribution(model, images(), ["Edema"], steps=1)
    fine = path_attribution(model, images(), ["Edema"], steps=64)
    assert fine.gap.abs().max() < 1e-3 < rough.gap.abs().max()
    assert "additivity gap (logits) Edema" in fine.gap_text()


@pytest.mark.parametrize("window", [1, 2, 4])
def test_occlusion_of_a_linear_model_is_the_sum_over_the_window(window):
    model = linear_model()
    logits, found = occlusion(model, window=window, stride=window, baseline=0.25)(images())
    torch.testing.assert_close(logits, model(images()).detach())
    each = weights(model, *FINDINGS) * (images() - 0.25)
    cells = each.unflatten(3, (-1, window)).unflatten(2, (-1, window)).sum(dim=(3, 5))
    expected = cells.repeat_interleave(window, dim=2).repeat_interleave(window, dim=3)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)


def test_images_of_eight_bits_have_the_same_values():
    model, bytes_ = curved_model(), (images() * 255).round().to(torch.uint8)
    for explain in (
        lambda given: partition_shap(model, given, FINDINGS, evaluations=20).values,
        lambda given: gradient_shap(model, given, given, FINDINGS, samples=3).values,
        lambda given: integrated_gradients(model, steps=3)(given)[1],
        lambda given: occlusion(model)(given)[1],
    ):
        torch.testing.assert_close(explain(bytes_), explain(bytes_ / 255))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: gradient_shap(m, images(), images(), ["Tumour"]), "linear has no finding 'Tumour'; it has: Mass"),
        (lambda m: partition_shap(m, images(), ["Tumour"]), "linear has no finding 'Tumour'"),
        (lambda m: partition_shap(m, images(), []), "no finding is chosen; linear has: Mass, Nodule, Edema"),
        (lambda m: gradient_shap(m, images(), images()[:0], FINDINGS), "the background set is empty"),
        (lambda m: gradient_shap(m, images(), images(), FINDINGS, samples=0), "at least 1 sample, got 0"),
        (
            lambda m: partition_shap(m, images(), FINDINGS, masker="black"),
            "no masker is called 'black'; allowed: blur",
        ),
        (lambda m: partition_shap(m, images(), FINDINGS, evaluations=1), "at least 2 evaluations, got 1"),
        (lambda m: path_attribution(m, images(), FINDINGS, baseline=255), "from 0 .black. to 1 .white., got 255"),
        (lambda m: path_attribution(m, images(), FINDINGS, steps=0), "at least 1 step, got 0"),
        (lambda m: occlusion(m, window=9), "a window of 9 px does not fit into images of 8 px"),
        (lambda m: occlusion(m, window=2, stride=3), "must move by 1 to 2 px, got 3"),
        (lambda m: occlusion(m.train()), "linear is in training mode"),
    ],
)
def test_bad_settings_are_refused(call, message):
    with pytest.raises(ModelError, match=message):
        call(linear_model())
