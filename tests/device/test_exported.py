"""Reading a model file: what was cut off, changed or is of someone else is refused, in one sentence."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxr_kd.device import known_answer
from cxr_kd.device.exported import ExportedModel
from cxr_kd.device.onnx_file import (
    KEY,
    FamiliarTold,
    Finding,
    KnownAnswer,
    Metadata,
    OperatingPoint,
    read_sealed,
    sealed,
)
from cxr_kd.errors import ModelError


@pytest.fixture
def content(exported) -> bytes:
    return exported.path.read_bytes()


def resealed(model: onnx.ModelProto) -> bytes:
    """A changed model whose seal holds."""
    entries = [entry for entry in model.metadata_props if entry.key != "sha256"]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    return sealed(model.SerializeToString())


def test_the_seal_is_metadata_that_other_readers_see(exported, content) -> None:
    entries = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    assert set(entries) == {KEY, "sha256"}
    assert entries["sha256"] == hashlib.sha256(content[:-76]).hexdigest()


def test_every_changed_or_missing_byte_is_noticed(content, tmp_path) -> None:
    file = tmp_path / "student.onnx"
    rng = np.random.default_rng(0)
    for position in (0, len(content) // 2, len(content) - 1, *rng.integers(len(content), size=20)):
        changed = bytearray(content)
        changed[position] ^= 1 + int(rng.integers(255))
        file.write_bytes(changed)
        with pytest.raises(ModelError, match=r"was changed|is no model of|cannot load it"):
            read_sealed(file)
    for length in (0, 10, 75, 76, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(ModelError, match="is no model of `cxr-kd export`, or was cut off"):
            read_sealed(file)


def test_the_page_for_other_programs_describes_this_file(content) -> None:
    page = (Path(__file__).parents[2] / "docs" / "exported-model.md").read_text()
    fields = {
        *FamiliarTold.model_fields,
        *Metadata.model_fields,
        *Finding.model_fields,
        *OperatingPoint.model_fields,
        *KnownAnswer.model_fields,
    }
    assert [name for name in sorted(fields - {"format", "target"}) if name not in page] == []
    assert content[-76:-64] == bytes.fromhex("72 4a 0a 06") + b"sha256" + bytes.fromhex("12 40")
    rule = [line.strip() for line in known_answer.image.__doc__.splitlines() if " = " in line]
    assert len(rule) == 3
    assert [line for line in rule if line not in page] == []


def test_what_is_no_model_file_is_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        ExportedModel.load(tmp_path / "student.onnx")
    with pytest.raises(ModelError, match="is a folder: name the model file in it"):
        ExportedModel.load(tmp_path)
    (tmp_path / "sealed.onnx").write_bytes(sealed(b"not ONNX"))
    with pytest.raises(ModelError, match="onnxruntime cannot load it"):
        ExportedModel.load(tmp_path / "sealed.onnx")


def test_metadata_of_another_version_are_refused(exported, tmp_path) -> None:
    model = onnx.load(exported.path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == KEY]
    entry.value = entry.value.replace('"format":1', '"format":2')
    (tmp_path / "newer.onnx").write_bytes(resealed(model))
    with pytest.raises(ModelError, match=r"format of its metadata.*of another version"):
        ExportedModel.load(tmp_path / "newer.onnx")
    model.metadata_props[0].key = "other"
    (tmp_path / "other.onnx").write_bytes(resealed(model))
    with pytest.raises(ModelError, match="no 'cxr_kd' in its metadata"):
        ExportedModel.load(tmp_path / "other.onnx")


def test_another_answer_than_the_known_one_is_refused(exported, tmp_path) -> None:
    """As if this machine's runtime computed something else."""
    model = onnx.load(exported.path)
    last = next(node for node in model.graph.node if "logits" in node.output)
    weight = next(each for each in model.graph.initializer if each.name == last.input[1])
    values = onnx.numpy_helper.to_array(weight) + np.float32(0.01)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    (tmp_path / "student.onnx").write_bytes(resealed(model))
    with pytest.raises(ModelError, match=r"logits of the check image differ by .* from the known answer"):
        ExportedModel.load(tmp_path / "student.onnx")


def test_only_8_bit_images_of_the_models_size_are_taken(exported) -> None:
    for images in (np.zeros((1, 32, 32), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((1, 64, 64), np.float32)):
        with pytest.raises(ModelError, match=r"takes 8-bit images \(N, 64, 64\), got"):
            exported.run(images)
    none = exported.run(np.zeros((0, 64, 64), np.uint8))
    assert (none.logits.shape, none.probabilities.shape, none.evidence.shape) == ((0, 4), (0, 4), (0, 4, 2, 2))
    assert none.distances.shape == (0,)


def test_the_check_image_is_drawn_by_its_rule() -> None:
    """Pixel by pixel with Python's whole numbers, as another program would."""
    for size in (32, 100):
        image = known_answer.image(size)
        for y in range(size):
            for x in range(size):
                u, v = 1000 * x // size, 1000 * y // size
                lung = any((u - c) ** 2 * 84100 + (v - 480) ** 2 * 28900 < 2430490000 for c in (310, 690))
                assert image[y, x] == (60 if lung else 170) + (7 * x + 13 * y + (x * y) % 31) % 32
    lungs = (known_answer.image(224) < 100).mean()
    assert 0.2 < lungs < 0.4
