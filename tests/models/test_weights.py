"""Our weights files saved and loaded again."""

import pytest
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.registry import names
from cxr_kd.models.tensor_files import read_tensors
from cxr_kd.models.weights import load, load_into, read_metadata, save

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


def test_the_input_statistics_travel_with_the_weights(findings, tmp_path):
    model = build("test_vit", findings, image_size=SIZE).eval()
    model.set_input_statistics([0.5, 0.5, 0.5], [0.5 / 1024, 0.3, 0.1])
    model.start = "the weights of a test"
    save(model, tmp_path / "model.safetensors", {})
    assert read_metadata(tmp_path / "model.safetensors")["std"] == [0.5 / 1024, 0.3, 0.1]
    again, into = load(tmp_path / "model.safetensors"), build("test_vit", findings, image_size=SIZE).eval()
    load_into(into, tmp_path / "model.safetensors")
    for other in (again, into):
        assert other.start == "the weights of a test"
        with torch.no_grad():
            assert torch.equal(other(images()), model(images()))


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
