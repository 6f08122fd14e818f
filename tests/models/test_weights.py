"""Our weights files saved and loaded again, and the files of published ImageNet weights."""

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.registry import names
from cxr_kd.models.tensor_files import read_tensors
from cxr_kd.models.weights import load, load_into, read_metadata, save
from cxr_kd.models.weights_folder import check_imagenet, weights_folder

SIZE = 64


def images() -> torch.Tensor:
    return torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", names())
def test_a_saved_model_is_rebuilt_from_its_file_alone(name, tmp_path, findings):
    model = build(name, findings, image_size=SIZE).eval()
    save(model, tmp_path / "new" / "model.safetensors", {"study": "demo", "split_sha256": "ab12", "seed": 3})
    again = load(tmp_path / "new" / "model.safetensors")
    assert (again.name, again.findings, again.image_size, again.training) == (name, findings, SIZE, False)
    with torch.no_grad():
        assert torch.equal(again(images()), model(images()))
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "model.safetensors"]


@pytest.fixture
def saved(tmp_path, findings):
    model = build("eeea_net_c2", findings, image_size=SIZE)
    save(model, tmp_path / "model.safetensors", {"study": "demo", "split_sha256": "ab12", "seed": 3})
    return tmp_path / "model.safetensors"


def test_the_metadata_holds_all_that_is_needed_to_use_the_weights(saved, findings):
    card = read_metadata(saved)
    assert card["network"] == "eeea_net_c2"
    assert card["findings"] == list(findings)
    assert (card["image_size"], card["study"], card["split_sha256"], card["seed"]) == (SIZE, "demo", "ab12", 3)
    assert card["mean"] == [0.485, 0.456, 0.406]


def test_equal_weights_make_equal_files(saved, tmp_path):
    save(load(saved), tmp_path / "again.safetensors", {"seed": 3, "study": "demo", "split_sha256": "ab12"})
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_weights_in_channels_last_order_make_the_same_file(saved, tmp_path):
    model = load(saved).to(memory_format=torch.channels_last)
    save(model, tmp_path / "again.safetensors", {"seed": 3, "study": "demo", "split_sha256": "ab12"})
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_a_save_that_fails_leaves_the_old_file(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save(load(saved), saved, {"seed": object()})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_metadata_may_not_contradict_the_model(saved):
    with pytest.raises(ModelError, match="may not set network"):
        save(load(saved), saved, {"network": "densenet121"})


def test_load_into_refuses_another_network_and_other_findings(saved, findings):
    with pytest.raises(ModelError, match="holds eeea_net_c2, not ofa_595"):
        load_into(build("ofa_595", findings, image_size=SIZE), saved)
    with pytest.raises(ModelError, match="was trained for the findings"):
        load_into(build("eeea_net_c2", findings[::-1], image_size=SIZE), saved)


def test_load_into_another_size_works_where_the_weights_fit(saved, findings, tmp_path):
    larger = build("eeea_net_c2", findings, image_size=96)
    load_into(larger, saved)
    assert torch.equal(larger.head.output.weight, load(saved).head.output.weight)
    save(build("visformer_s", findings, image_size=SIZE), tmp_path / "v.safetensors", {})
    with pytest.raises(ModelError, match=r"pos_embed1' has shape .*trained at 64 px, this model is for 96 px"):
        load_into(build("visformer_s", findings, image_size=96), tmp_path / "v.safetensors")


def test_a_file_of_another_version_is_named_by_its_first_key(saved, tmp_path):
    more, less = load(saved), load(saved)
    more.register_buffer("extra", torch.zeros(1))
    save(more, tmp_path / "more.safetensors", {})
    with pytest.raises(ModelError, match="has 'extra', which eeea_net_c2 lacks"):
        load(tmp_path / "more.safetensors")
    less.head.output.register_parameter("bias", None)
    save(less, tmp_path / "less.safetensors", {})
    with pytest.raises(ModelError, match=r"has no 'head\.output\.bias'"):
        load(tmp_path / "less.safetensors")


def test_a_state_dict_inside_a_published_file_is_unpacked(tmp_path):
    torch.save({"state_dict": {"module.a.weight": torch.ones(2)}}, tmp_path / "wrapped.pth")
    assert list(read_tensors(tmp_path / "wrapped.pth")) == ["a.weight"]


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
