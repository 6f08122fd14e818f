"""torchxrayvision's files: read without the package and without running anything, and with its very logits."""

import copy
import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torchxrayvision_files import old_names, random_densenet, save_module, small_module

from cxr_kd.errors import ModelError
from cxr_kd.models.torchxrayvision import PATHOLOGIES, load, read, same_label

ALL = {label: label for label in PATHOLOGIES}
SIZE = 64


@pytest.fixture(scope="module")
def network():
    return random_densenet()


@pytest.fixture(scope="module")
def published(network, tmp_path_factory):
    """The file in the form in which most of torchxrayvision's are published."""
    return save_module(network, tmp_path_factory.mktemp("published") / "nih-densenet121-best.pt", legacy=True)


def forms(network, folder):
    """Write the network in every form that is read."""
    yield save_module(network, folder / "module.pt")
    yield save_module(network, folder / "legacy.pt", legacy=True)
    state = {**network.state_dict(), "op_threshs": torch.full((1, 18), 0.5)}
    torch.save(state, folder / "state.pt")
    torch.save({"state_dict": old_names(network.state_dict())}, folder / "old-names.pt")
    torch.save(
        {f"module.{key}": value for key, value in state.items()},
        folder / "parallel.pth",
        _use_new_zipfile_serialization=False,
    )
    safetensors.torch.save_file(network.state_dict(), folder / "state.safetensors")
    yield from (folder / name for name in ("state.pt", "old-names.pt", "parallel.pth", "state.safetensors"))


def test_every_form_of_a_file_holds_the_same_network(network, tmp_path):
    for path in forms(network, tmp_path):
        published = read(path)
        assert published.labels == PATHOLOGIES
        assert set(published.state) == set(network.state_dict())
        assert all(torch.equal(value, published.state[key]) for key, value in network.state_dict().items()), path


def test_logits_are_those_of_the_network_itself(network, published):
    images = torch.randint(0, 256, (3, 1, SIZE, SIZE), dtype=torch.uint8)
    model = load(published, ALL, image_size=SIZE)
    with torch.no_grad():
        expected = network((2 * (images / 255) - 1) * 1024)
        assert expected.std() > 0.5
        torch.testing.assert_close(model(images), expected, atol=1e-4, rtol=1e-4)


def test_findings_get_the_outputs_of_their_labels_in_the_study_s_order(network, published):
    images = torch.rand(2, 1, SIZE, SIZE)
    model = load(published, {"hernia": "HERNIA", "Pleural Thickening": "pleural thickening"}, image_size=SIZE)
    assert model.findings == ("hernia", "Pleural Thickening")
    with torch.no_grad():
        expected = network((2 * images - 1) * 1024)[:, [13, 9]]
        torch.testing.assert_close(model(images), expected, atol=1e-4, rtol=1e-4)


def test_labels_are_compared_as_a_whole():
    assert same_label("Pleural_Thickening", " pleural  thickening")
    assert not same_label("Emphysema", "Subcutaneous emphysema")
    assert not same_label("Effusion", "Pleural Effusion")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", [list, tuple, lambda names: np.array(names, dtype=object)])
def test_a_file_that_names_its_outputs_is_believed(tmp_path, legacy, kind):
    model = small_module(pathologies=kind(["Nodule", ""]))
    assert read(save_module(model, tmp_path / "own.pt", legacy=legacy)).labels == ("Nodule", "")


def test_outputs_that_were_never_trained_are_no_answers(tmp_path, network):
    """Every published file has all 18 outputs; that for RSNA's data was trained for two of them."""
    model = copy.deepcopy(network)
    with torch.no_grad():
        model.classifier.bias[[each not in ("Pneumonia", "Lung Opacity") for each in PATHOLOGIES]] = 0
    path = save_module(model, tmp_path / "kaggle.pt", legacy=True)
    assert [label for label in read(path).labels if label] == ["Pneumonia", "Lung Opacity"]
    with pytest.raises(
        ModelError, match=r"no trained output for 'Effusion'\. Its outputs: Pneumonia, Lung Opacity. Nam"
    ):
        load(path, {"Pneumonia": "Pneumonia", "Effusion": "Effusion"}, image_size=SIZE)


def test_a_finding_without_an_output_is_named_with_the_label_it_was_looked_up_by(published):
    with pytest.raises(ModelError, match=r"nih-densenet121-best.pt has no trained output for 'Erguss' \('Efusion'\)"):
        load(published, {"Erguss": "Efusion"}, image_size=SIZE)


# ---- files that are refused ------------------------------------------------------------------------------------------


class Marker:
    """Pickled, it asks its reader to make a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["alone", "in a module", "instead of a layer", "in a state dict"])
def test_code_in_a_file_is_not_run(tmp_path, legacy, place):
    marker = Marker(tmp_path / "the code has run")
    path = tmp_path / "file.pt"
    content = {"alone": marker, "in a state dict": {"classifier.bias": marker}}.get(place) or small_module()
    if place == "in a module":
        content.pathologies = marker
    if place == "instead of a layer":
        content._modules["features"] = marker
    save_module(content, path, legacy=legacy)
    with pytest.raises(
        ModelError, match=r"file.pt cannot be read as weights \(it names posix.mkdir, .* No code in it was"
    ) as e:
        read(path)
    assert "weights_only" not in str(e.value)  # torch advises to run the code
    assert not marker.folder.exists()
    torch.load(path, weights_only=False) if place in ("alone", "in a state dict") else None
    assert marker.folder.exists() == (place in ("alone", "in a state dict"))  # the marker works


def test_plain_pickles_are_not_run(tmp_path):
    marker = Marker(tmp_path / "the code has run")
    for number, content in enumerate((marker, [marker] * 4)):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(pickle.dumps(content) * 5)
        with pytest.raises(ModelError, match=f"{number}.pkl cannot be read as weights"):
            read(path)
    assert not marker.folder.exists()


def test_other_files_are_refused_by_name(tmp_path, published):
    whole = published.read_bytes()
    foreign = tmp_path / "foreign.pt"
    for content, message in [
        (whole[: len(whole) // 2], "cannot be read as weights"),
        (whole[:1000], "cannot be read as weights"),
        (b"", "cannot be read as weights"),
        (b"PK\x03\x04 no archive", "cannot be read as weights"),
        (b"<html>404</html>", "cannot be read as weights"),
    ]:
        foreign.write_bytes(content)
        with pytest.raises(ModelError, match=f"foreign.pt {message}"):
            read(foreign)
    with pytest.raises(ModelError, match="no weights file at"):
        read(tmp_path / "none.pt")
    for content, message in [
        ([1, 2], "holds no network, but list"),
        ({"state_dict": {}}, "holds no network, but dict"),
        ({"epoch": 3}, "entry 'epoch' is no named tensor but int"),
        ({"fc.bias": torch.zeros(3)}, "it has no 'classifier.bias'"),
        ({"classifier.bias": torch.ones(3)}, r"it has 3 outputs and names 18 of them \(Atelectasis, .*cannot be told"),
        ({"classifier.bias": torch.tensor(1.0)}, "it has no 'classifier.bias' with one value per finding"),
    ]:
        torch.save(content, foreign)
        with pytest.raises(ModelError, match=f"foreign.pt(:|) {message}"):
            read(foreign)


def test_networks_of_another_layout_are_refused_by_name(tmp_path, network):
    def refused(model, message, **change):
        state = {**model.state_dict(), **change}
        torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / "other.pt")
        with pytest.raises(ModelError, match=f"other.pt: {message}"):
            load(tmp_path / "other.pt", {"Mass": "Mass"}, image_size=SIZE)

    refused(random_densenet(channels=3), "it has no 'features.conv0.weight' with one input channel")
    refused(network, "it has no 'features.conv0.weight' with", **{"features.conv0.weight": None})
    refused(
        network, "its 'classifier.weight' does not have one row per f", **{"classifier.weight": torch.zeros(3, 1024)}
    )
    refused(network, "the weights have no 'features.norm5.weight'", **{"features.norm5.weight": None})
    refused(network, "the weights' 'features.norm5.weight' has shape", **{"features.norm5.weight": torch.ones(7)})
    refused(
        network, "'backbone.network.features.norm5.weight' holds", **{"features.norm5.weight": torch.ones(1024) / 0}
    )


def test_modules_that_are_not_built_as_torch_s_are_refused(tmp_path):
    for number, change in enumerate((lambda m: vars(m).pop("_buffers"), lambda m: m._modules.update(features=m))):
        model = small_module()
        change(model)
        path = save_module(model, tmp_path / f"{number}.pt")
        with pytest.raises(ModelError, match=f"{number}.pt: .*is not built as torch's modules are"):
            read(path)
