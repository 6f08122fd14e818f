"""An exported model gives what the network gives, and its file says what it is."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from runs_to_export import FINDINGS, write_fits, write_run

from cxr_kd.device.export import export
from cxr_kd.errors import DataError, ModelError, PredictionsError, TrainingError
from cxr_kd.evaluation.probability import operating_points, recalibration
from cxr_kd.explanation.methods.grids import explainer
from cxr_kd.models import weights
from cxr_kd.models.registry import names


def radiographs(count: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size), dtype=np.uint8)


def of_torch(run: Path, images: np.ndarray, grid: str = "plain") -> tuple[torch.Tensor, torch.Tensor]:
    model = weights.load(run / "model.safetensors")
    with torch.no_grad():
        return explainer(model, grid)(torch.from_numpy(images).unsqueeze(1))


def test_logits_maps_and_probabilities_are_the_networks(run, exported) -> None:
    images = radiographs(11)  # more than one call of the runtime
    logits, evidence = of_torch(run, images)
    answers = exported.run(images)
    assert np.ptp(logits.numpy(), axis=0).min() > 1e-3  # images differ, so equality is no accident
    np.testing.assert_allclose(answers.logits, logits, atol=1e-4)
    np.testing.assert_allclose(answers.evidence, evidence, atol=1e-3)
    np.testing.assert_allclose(answers.probabilities[:, 0], torch.sigmoid(-1 + 2 * logits[:, 0]), atol=1e-4)
    np.testing.assert_allclose(answers.probabilities[:, 2], torch.sigmoid(0.5 + 0.25 * logits[:, 2]), atol=1e-4)
    assert np.isnan(answers.probabilities[:, [1, 3]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in names() if name != "eeea_net_c2"])
def test_every_network_of_the_registry_can_be_exported(network, tmp_path) -> None:
    run = write_run(tmp_path, network)
    model = export(run, tmp_path / "model.onnx")
    images = radiographs(2)
    logits, evidence = of_torch(run, images)
    answers = model.run(images)
    scale = float(evidence.abs().max())
    np.testing.assert_allclose(answers.logits, logits, atol=1e-3)
    np.testing.assert_allclose(answers.evidence, evidence, atol=1e-3 * max(1, scale))
    assert np.isnan(answers.probabilities).all()  # there is no calibration


def test_finer_maps_share_the_weights(run, exported, tmp_path) -> None:
    finer = export(run, tmp_path / "finer.onnx", grid="atrous2")
    images = radiographs(2)
    logits, evidence = of_torch(run, images, "atrous2")
    answers = finer.run(images)
    assert evidence.shape[2:] == finer.metadata.cells == tuple(2 * side for side in exported.metadata.cells)
    np.testing.assert_allclose(answers.logits, logits, atol=1e-4)
    np.testing.assert_allclose(answers.evidence, evidence, atol=1e-3)
    assert finer.path.stat().st_size < 1.05 * exported.path.stat().st_size


def test_hardswish_and_hardsigmoid_stay_whole(exported) -> None:
    nodes = Counter(node.op_type for node in onnx.load(exported.path).graph.node)
    assert (nodes["HardSwish"], nodes["HardSigmoid"]) == (27, 11)
    assert not {"BatchNormalization", "Clip"} & set(nodes)


def test_the_file_is_valid_onnx_with_weights_once_and_no_trace_of_this_machine(run, exported) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import if not each.domain] == [("", 18)]
    (image,) = model.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [each.dim_param or each.dim_value for each in image.type.tensor_type.shape.dim] == ["batch", 1, 64, 64]
    assert exported.path.stat().st_size < (run / "model.safetensors").stat().st_size + 50_000
    content = exported.path.read_bytes()
    assert not any(trace in content for trace in (b".py", b"pkg.torch", str(Path.home()).encode() + b"/"))


def test_the_metadata_say_what_the_model_is(run, exported) -> None:
    told = exported.metadata
    assert told.names == FINDINGS
    assert (told.network, told.study, told.run, told.dataset) == ("eeea_net_c2", "tiny", "net-seed0", "phantom")
    assert (told.image_size, told.keep_aspect, told.intensity, told.cells) == (64, True, "fixed", (2, 2))
    mass, edema, *_ = told.findings
    assert (mass.calibrated, edema.calibrated) == (True, False)
    assert [point.logit for point in mass.operating_points] == [-100]
    assert edema.operating_points == ()
    assert "not for diagnosis" in told.use


def test_the_same_run_gives_the_same_bytes(run, exported, tmp_path) -> None:
    again = export(run, tmp_path / "again.onnx")
    assert hashlib.sha256(again.path.read_bytes()).digest() == hashlib.sha256(exported.path.read_bytes()).digest()


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), TrainingError, "no finished run"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), ModelError, "not a whole safetensors file"),
        (lambda folder: write_fits(folder, "other"), DataError, "fitted on the run other"),
        (lambda folder: (folder / recalibration.FILE).write_text("{"), PredictionsError, "cannot be read"),
        (lambda folder: (folder / operating_points.FILE).write_text("{"), PredictionsError, "cannot be read"),
    ],
)
def test_a_bad_run_leaves_no_file(run, tmp_path, change, error, told) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    change(folder)
    with pytest.raises(error, match=told):
        export(folder, tmp_path / "out" / "student.onnx")
    assert not (tmp_path / "out").exists()


def test_bad_places_and_grids_are_refused(run, exported, tmp_path) -> None:
    with pytest.raises(ModelError, match="exists: choose another"):
        export(run, exported.path)
    with pytest.raises(ModelError, match="is a folder: name the file"):
        export(run, tmp_path)
    with pytest.raises(ModelError, match="'shift2' cannot be exported; these can: plain, atrous2, atrous4"):
        export(run, tmp_path / "student.onnx", grid="shift2")


def test_a_model_whose_answers_differ_is_not_written(run, tmp_path, monkeypatch) -> None:
    from cxr_kd.device import export as module

    converted = module._converted

    def spoilt(network, images):
        with torch.no_grad():
            network.model.head.output.bias += 0.01
        return converted(network, images)

    monkeypatch.setattr(module, "_converted", spoilt)
    with pytest.raises(ModelError, match="differ"):
        export(run, tmp_path / "student.onnx")
    assert list(tmp_path.iterdir()) == []
