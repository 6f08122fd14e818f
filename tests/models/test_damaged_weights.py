"""Weights files that are damaged, changed, foreign or absurd: each is refused by name, and says what to do."""

import json
import os
import resource

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_kd.errors import ModelError, StorageError
from cxr_kd.models.build import build
from cxr_kd.models.published_weights import load_published
from cxr_kd.models.tensor_files import read_tensors
from cxr_kd.models.weights import load, load_into, read_metadata, save

FINDINGS = ("Mass", "Nodule", "Edema")
SIZE = 32


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An intact weights file of the smallest network, with a little metadata."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save(build("test_vit", FINDINGS, image_size=SIZE), path, {"study": "demo", "seed": 3})
    return path


def rewritten(whole, path, **changes):
    """Write the tensors of `whole` with other metadata, as a program that knows no SHA-256 would; return the path."""
    metadata = {**read_metadata(whole), **changes}
    metadata = {key: value for key, value in metadata.items() if value is not ...}
    safetensors.torch.save_file(safetensors.torch.load_file(whole), path, metadata={"cxr_kd": json.dumps(metadata)})
    return path


def _names(error, path):
    assert str(path) in str(error)


# ---- our own weights files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 10**9}, r"cannot take images of 1000000000 px: allowed are 32 to 4096 px.* the nearest: 4096"),
        ({"image_size": -32}, "cannot take images of -32 px"),
        ({"image_size": 0}, "cannot take images of 0 px"),
        ({"image_size": "64"}, "image_size of its metadata: Input should be a valid integer"),
        ({"image_size": 32.5}, "image_size of its metadata"),
        ({"image_size": True}, "image_size of its metadata"),
        ({"image_size": None}, "image_size of its metadata"),
        ({"image_size": ...}, "image_size of its metadata: Field required"),
        ({"findings": []}, "findings of its metadata"),
        ({"findings": "Mass"}, "findings of its metadata"),
        ({"findings": ["Mass", 3, "Edema"]}, r"findings\.1 of its metadata: Input should be a valid string"),
        ({"findings": ["Mass", "Mass", "Edema"]}, "each once"),
        ({"findings": ["Mass", " ", "Edema"]}, "each a name"),
        ({"network": "resnet_1e9"}, "no network is called 'resnet_1e9'"),
        ({"network": None}, "network of its metadata"),
        ({"network": ["test_vit"]}, "network of its metadata"),
        ({"mean": [0.485, float("nan"), 0.406]}, r"no image can be normalised with a mean of \(0\.485, nan, 0\.406\)"),
        ({"std": [0.5, 0.0, 0.5]}, r"and an std of \(0\.5, 0\.0, 0\.5\)"),
        ({"start": ...}, "start of its metadata: Field required"),
        ({"mean": [0.5, 0.5]}, r"mean(\.\d)? of its metadata"),
        ({"mean": "gray"}, "mean of its metadata"),
        ({"std": [None, 0.5, 0.5]}, r"std\.0 of its metadata"),
        ({"sha256": ...}, "sha256 of its metadata: Field required"),
    ],
)
def test_metadata_that_no_network_has_is_refused_before_a_tensor_is_read(whole, tmp_path, change, message):
    path = rewritten(whole, tmp_path / "odd.safetensors", **change)
    for read in (read_metadata, load):
        with pytest.raises(ModelError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "train the network again" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", "null", "3", "[" * 100_000, '{"image_size": ' + "9" * 5000 + "}", "\u0000"]
)
def test_metadata_that_is_no_json_object_is_refused(whole, tmp_path, text):
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file(safetensors.torch.load_file(whole), path, metadata={"cxr_kd": text})
    with pytest.raises(ModelError, match=r"odd\.safetensors.*metadata"):
        read_metadata(path)


@pytest.mark.parametrize(
    "change",
    [
        {"findings": ["Nodule", "Mass", "Edema"]},
        {"findings": ["Mass", "Nodule", "Hernia"]},
        {"image_size": 48},
        {"seed": 4},
        {"added": 1},
    ],
)
def test_metadata_that_was_changed_is_noticed_although_it_fits(whole, tmp_path, change):
    path = rewritten(whole, tmp_path / "changed.safetensors", **change)
    with pytest.raises(ModelError, match=r"changed\.safetensors was changed or damaged after it was written"):
        load(path)


def test_findings_in_another_order_are_refused(whole):
    model = build("test_vit", FINDINGS[::-1], image_size=SIZE)
    with pytest.raises(ModelError, match=r"was trained for the findings .*build it for the findings of the file"):
        load_into(model, whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_with_the_tensor(tmp_path, value):
    model = build("test_vit", FINDINGS, image_size=SIZE)
    with torch.no_grad():
        model.head.output.weight[1, 2] = value
    save(model, tmp_path / "diverged.safetensors", {})
    for read in (load, lambda path: load_into(build("test_vit", FINDINGS, image_size=SIZE), path)):
        with pytest.raises(ModelError, match=r"diverged\.safetensors: 'head\.output\.weight' holds .* not finite"):
            read(tmp_path / "diverged.safetensors")


def test_tensors_of_integers_are_refused(tmp_path):
    model = build("test_vit", FINDINGS, image_size=SIZE)
    model.head.output.bias = torch.nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
    save(model, tmp_path / "integers.safetensors", {})
    with pytest.raises(ModelError, match=r"'head\.output\.bias' holds torch\.int64 where torch\.float32 belongs"):
        load(tmp_path / "integers.safetensors")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "empty.safetensors").touch()
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, message in {
        "nowhere": "no weights file at",
        "pipe": "is no regular file",
        "folder": "is no regular file",
        "empty": "is not a whole safetensors file",
        "foreign": "was not written by cxr_kd",
    }.items():
        with pytest.raises(ModelError, match=message):
            load(tmp_path / f"{name}.safetensors")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_or_altered_file_gives_the_same_tensors_or_an_error(whole, tmp_path, data):
    content = bytearray(whole.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    if data.draw(st.booleans(), "truncated"):
        content = content[: data.draw(st.integers(0, len(content) - 1), "length")]
    else:
        # Half of the bytes in the header, which is a small part of the file.
        places = st.one_of(st.integers(0, header - 1), st.integers(0, len(content) - 1))
        for place in data.draw(st.lists(places, min_size=1, max_size=3), "places"):
            content[place] ^= data.draw(st.integers(1, 255), "flip")
    path = tmp_path / "altered.safetensors"
    path.write_bytes(content)
    try:
        found = load(path)
    except ModelError as error:
        _names(error, path)
        return
    expected = load(whole)
    assert (found.name, found.findings, found.image_size) == (expected.name, expected.findings, expected.image_size)
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in found.state_dict().items())


@pytest.mark.parametrize("place", ["first", "last"])
def test_one_bit_of_a_tensor_is_noticed(whole, tmp_path, place):
    content = bytearray(whole.read_bytes())
    content[8 + int.from_bytes(content[:8], "little") if place == "first" else -1] ^= 1
    (tmp_path / "bit.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        load(tmp_path / "bit.safetensors")


def test_a_full_disk_leaves_the_old_file_and_one_sentence(whole, tmp_path):
    """The limit on the size of a file stands for the disk: the system refuses the write in the middle of the file."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole.read_bytes())
    model = load(whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write to .* make room") as caught:
            save(model, path, {"seed": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == whole.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_a_weights_file_gets_the_permissions_of_the_umask(whole, tmp_path):
    model, before = load(whole), os.umask(0o027)
    try:
        save(model, tmp_path / "model.safetensors", {})
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


# ---- published weights (.pt, .pth) -----------------------------------------------------------------------------------


class Payload:
    """An object that is no tensor."""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "network.pth"
    torch.save({"state_dict": {"a.weight": torch.randn(3, 4), "a.bias": torch.zeros(3)}, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02" + bytes(50), b"PK\x03\x04" + bytes(500), b"<html>"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_published_file_of_garbage_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"garbage{suffix} cannot be read as a file of tensors only.*remove it"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": Payload()}, "cannot be read as a file of tensors only"),
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"state_dict": {}}, "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        ({"a.weight": [1.0, 2.0]}, "entry 'a.weight' is no named tensor but list"),
        ({"epoch": 3, "a.weight": torch.zeros(1)}, "entry 'epoch' is no named tensor but int"),
        ({7: torch.zeros(1)}, "entry '7' is no named tensor"),
    ],
)
def test_a_published_file_of_other_things_than_tensors_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match=rf"odd\.pth.*{message}") as caught:
        read_tensors(tmp_path / "odd.pth")
    assert "only if you trust" not in str(caught.value)  # torch advises to run the code


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_or_altered_published_file_is_read_or_refused(published, tmp_path, data):
    content = bytearray(published.read_bytes())
    content = content[: data.draw(st.integers(0, len(content)), "length")]
    for place in data.draw(st.lists(st.integers(0, 900), max_size=20), "places"):
        if place < len(content):
            content[place] ^= data.draw(st.integers(1, 255), "flip")
    path = tmp_path / "altered.pth"
    path.write_bytes(content)
    try:
        state = read_tensors(path)
    except ModelError as error:
        _names(error, path)
        return
    assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.parametrize("name", ["eeea_net_c2", "densenet121"])
def test_published_weights_that_are_not_finite_or_no_numbers_are_refused(name, findings, published_state):
    model = build(name, findings, image_size=64)
    if name == "eeea_net_c2":
        state, key = published_state(model), "first_conv.bn.running_var"
    else:
        state, key = dict(model.backbone.network.state_dict()), "features.conv0.weight"
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for damage in (float("nan"), float("inf")):
        with pytest.raises(ModelError, match="holds values that are not finite"):
            load_published(model, {**state, key: torch.full_like(state[key], damage)})
    with pytest.raises(ModelError, match=r"where torch\.float32 belongs"):
        load_published(model, {**state, key: state[key].to(torch.complex64)})
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
