"""Write a trained network as one ONNX file: radiograph in; logits, probabilities and the maps of all findings out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateInitializersPass
from torch import nn

from cxr_kd.device import familiar, known_answer
from cxr_kd.device.distance_branch import OUTPUT, DistanceBranch, name_nodes
from cxr_kd.device.exported import ExportedModel
from cxr_kd.device.familiar import Familiar
from cxr_kd.device.onnx_file import FamiliarTold, Finding, KnownAnswer, Metadata, OperatingPoint, sealed, with_metadata
from cxr_kd.device.runtimes import INPUT
from cxr_kd.errors import ModelError, PredictionsError
from cxr_kd.evaluation.probability import operating_points
from cxr_kd.evaluation.probability.operating_points import OperatingPoints
from cxr_kd.explanation.methods.grids import parse as parse_form
from cxr_kd.explanation.own_images import RunOnDisk, find_run
from cxr_kd.files import written_whole
from cxr_kd.models import weights
from cxr_kd.models.classifier import CxrClassifier

if TYPE_CHECKING:
    import onnx

    from cxr_kd.explanation.methods.cam import Explainer

OPSET = 18
# Largest difference of a logit between onnxruntime and PyTorch that is rounding; logits are of the order of 1 to 10.
ROUNDING = 1e-3
USE = "For research, not for diagnosis. It was not tested as a medical device."
LICENCE = (
    "The code is under Apache-2.0. The weights were learned from the data set named here, whose terms of use apply to "
    "them; weights that began with ImageNet also carry its terms."
)
# Forms of maps that are made without a backward pass and without a second image.
GRIDS = ("plain", "atrous2", "atrous4")


def export(run: Path | str, out: Path | str, *, grid: str = "plain", overwrite: bool = False) -> ExportedModel:
    """Write the network of a run (its folder, or its weights file) to `out`; return the model as it runs from there.

    Input `image`: uint8 (batch, 1, S, S), a radiograph as `cxr_kd.decode` gives it; the preprocessing is inside.
    Outputs, float32: `logits` (batch, L); `maps` (batch, L, h, w), signed evidence in logits, with the cells of `grid`
    (one of GRIDS); `probabilities` (batch, L) by Platt scaling if the run's folder holds a `recalibration.json`, NaN
    for findings that it leaves out; `distance` (batch,) from the study's radiographs if it holds a `familiar.json`.
    Opset OPSET, any batch size. The file is written only after onnxruntime gave PyTorch's logits and maps on the check
    image (`known_answer`) and on two random ones.

    Raises:
        TrainingError, PredictionsError, DataError: as `find_run` and `familiar.read_beside` do.
        ModelError: if `out` exists and `overwrite` is off, for another grid, for a damaged weights file, and if
            onnxruntime's logits differ from PyTorch's by more than ROUNDING.
        StorageError: if the disk refuses the file.
    """
    out = Path(out)
    if out.is_dir():
        raise ModelError(f"{out} is a folder: name the file to write, such as {out / 'student.onnx'}")
    if out.exists() and not overwrite:
        raise ModelError(f"{out} exists: choose another file, or replace it with --overwrite")
    if grid not in GRIDS:
        raise ModelError(f"maps of the grid {grid!r} cannot be exported; these can: {', '.join(GRIDS)}")
    found = find_run(Path(run))
    network = _network(found, grid)
    inputs = _check_images(network.model.image_size)
    with torch.no_grad():
        wanted = network(inputs)
    metadata = _metadata(found, network, grid, wanted)
    converted = _converted(network, inputs)
    with written_whole(out) as temporary:
        temporary.write_bytes(sealed(with_metadata(converted, metadata)))
        _check_equal(ExportedModel.load(temporary), inputs, wanted, out)
    return ExportedModel.load(out)


def as_module(run: Path | str, *, grid: str = "plain") -> ExportedModule:
    """Return what `export` writes as a PyTorch module in eval mode, for exporters to other formats.

    Its forward pass takes `image` and returns the outputs of the file, which `outputs` names. Raises as `export` does.
    """
    return _network(find_run(Path(run)), grid)


class ExportedModule(nn.Module):
    """A model's explainer as a module with the outputs of the file."""

    intercepts: torch.Tensor
    slopes: torch.Tensor

    def __init__(
        self, model: CxrClassifier, explain: Explainer, findings: Sequence[Finding], fitted: Familiar | None
    ) -> None:
        super().__init__()
        self.model = model  # named here, its weights are in the file once, however often the explainer uses them
        self.explain = explain
        self.findings, self.fitted = tuple(findings), fitted
        self.calibrated = any(finding.calibrated for finding in findings)
        lines = [(finding.intercept, finding.slope) if finding.calibrated else (np.nan, 1.0) for finding in findings]
        intercepts, slopes = torch.tensor(lines, dtype=torch.float32).T
        self.register_buffer("intercepts", intercepts)
        self.register_buffer("slopes", slopes)
        self.distance = DistanceBranch(fitted) if fitted else None
        told = [("probabilities", self.calibrated), (OUTPUT, fitted is not None)]
        self.outputs = ["logits", "maps", *(name for name, has in told if has)]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs that `outputs` names for uint8 images (B, 1, S, S)."""
        logits, evidence = self.explain(image)
        found = [logits, evidence]
        if self.calibrated:
            found.append(torch.sigmoid(self.intercepts + self.slopes * logits))
        if self.distance is not None:
            found.append(self.distance(image))
        return tuple(found)


def _network(run: RunOnDisk, grid: str) -> ExportedModule:
    model = weights.load(run.file).eval()
    fitted = familiar.read_beside(run.file, run.name, str(run.metadata.get("split_sha256")), model.image_size)
    return ExportedModule(model, parse_form(grid).make(model), _findings(run), fitted).eval()


def _findings(run: RunOnDisk) -> tuple[Finding, ...]:
    """Return the run's findings with their calibration and operating points, those that were fitted."""
    points = _points(run)
    found = []
    for name in run.metadata["findings"]:
        line = run.recalibration.of(name, "platt") if run.recalibration else None
        fitted = {} if line is None or line.left_out else {"intercept": line.intercept, "slope": line.slope}
        found.append(Finding(name=name, **fitted, operating_points=points.get(name, ())))
    return tuple(found)


def _points(run: RunOnDisk) -> dict[str, tuple[OperatingPoint, ...]]:
    file = run.file.with_name(operating_points.FILE)
    if not file.is_file():
        return {}
    read = OperatingPoints.read(file)
    if (read.run, read.split_sha256) != (run.metadata.get("run"), run.metadata.get("split_sha256")):
        raise PredictionsError(
            f"{file}: chosen for the run {read.run}, or on another split; remove it, or choose again"
        )
    kept = set(OperatingPoint.model_fields)
    found: dict[str, tuple[OperatingPoint, ...]] = {}
    for point in read.points:
        if not point.left_out:
            known = OperatingPoint(**point.model_dump(include=kept))
            found[point.finding] = (*found.get(point.finding, ()), known)
    return found


def _check_images(size: int) -> torch.Tensor:
    """Return the check image and two random ones, uint8 (3, 1, S, S)."""
    random = np.random.default_rng(0).integers(0, 256, (2, size, size), dtype=np.uint8)
    return torch.from_numpy(np.stack([known_answer.image(size), *random])).unsqueeze(1)


def _metadata(run: RunOnDisk, network: ExportedModule, grid: str, wanted: Sequence[torch.Tensor]) -> Metadata:
    told, fitted = run.metadata, network.fitted
    height, width = wanted[1].shape[2:]
    origin = {key: str(told.get(key, "not told")) for key in ("study", "dataset", "split", "split_sha256")}
    return Metadata(
        study=origin["study"],
        dataset=origin["dataset"],
        split=origin["split"],
        split_sha256=origin["split_sha256"],
        run=run.name,
        network=told["network"],
        image_size=told["image_size"],
        weights_sha256=told["sha256"],
        findings=network.findings,
        keep_aspect=run.keep_aspect,
        intensity=run.intensity,
        grid=grid,
        cells=(height, width),
        opset=OPSET,
        known_answer=KnownAnswer(logits=tuple(wanted[0][0].tolist()), tolerance=ROUNDING),
        familiar=FamiliarTold(**fitted.model_dump(include=set(FamiliarTold.model_fields))) if fitted else None,
        versions={name: version(name) for name in ("cxr-kd", "torch", "onnx")},
        use=USE,
        licence=LICENCE,
    )


def _converted(network: ExportedModule, images: torch.Tensor) -> onnx.ModelProto:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter's remarks on operators that no network here has
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                verbose=False,
                external_data=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=network.outputs,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        logging.disable(before)
    DeduplicateInitializersPass(size_limit=2**31)(program.model)  # a finer grid uses the weights a second time
    ClearMetadataAndDocStringPass()(program.model)  # it names source files of this machine
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.metadata_props.clear()
    proto: onnx.ModelProto = program.model_proto
    del proto.graph.value_info[:]  # shapes within the graph, with the exporter's notes; every runtime infers them
    name_nodes(proto)
    return proto


def _check_equal(exported: ExportedModel, images: torch.Tensor, wanted: Sequence[torch.Tensor], out: Path) -> None:
    answers = exported.run(images[:, 0].numpy())
    compared = [("logits", answers.logits, wanted[0]), ("maps", answers.evidence, wanted[1])]
    if exported.metadata.familiar:
        compared.append((OUTPUT, answers.distances, wanted[-1]))
    for name, found, true in compared:
        scale = max(1.0, float(true.abs().max()))
        if (off := float(np.abs(found - true.numpy()).max())) > ROUNDING * scale:
            raise ModelError(f"{out} was not written: onnxruntime's {name} differ from PyTorch's by {off:.2g}")
