"""Explainable knowledge distillation for on-device chest X-ray classification.

The names in `__all__` are loaded at their first use, so `import cxr_kd` stays fast. Read one radiograph with a trained
network:

    import cxr_kd, pathlib, torch

    model = cxr_kd.load("model.safetensors")
    pixels = cxr_kd.decode(pathlib.Path("radiograph.png"), model.image_size)  # uint8 (S, S)
    logits, maps = cxr_kd.maps(model, torch.from_numpy(pixels)[None, None])  # (1, L) and (1, L, h, w)
    probabilities = dict(zip(model.findings, logits[0].sigmoid().tolist()))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and mypy
    from cxr_kd.data.images.decode import decode
    from cxr_kd.data.prepare import prepare
    from cxr_kd.device.cost_table import write_cost_table
    from cxr_kd.device.familiar_table import write_familiar
    from cxr_kd.device.parity import write_exports
    from cxr_kd.distill.outputs import observe
    from cxr_kd.evaluation.ablation import write_ablation
    from cxr_kd.evaluation.across import write_across
    from cxr_kd.evaluation.details import fit_on_validation, write_details
    from cxr_kd.evaluation.study_results import write_results
    from cxr_kd.explanation.agreement import agreement_of_students
    from cxr_kd.explanation.cases import choose_cases
    from cxr_kd.explanation.examples import choose_examples, explain_examples
    from cxr_kd.explanation.map_tables import write_map_tables
    from cxr_kd.explanation.measure import measure_maps
    from cxr_kd.explanation.methods.cam import maps, upsample
    from cxr_kd.models.build import build
    from cxr_kd.models.weights import load
    from cxr_kd.notebook import begin
    from cxr_kd.report.page import write_report
    from cxr_kd.study import load_study
    from cxr_kd.study.arms import arms_of
    from cxr_kd.training.external import score_external
    from cxr_kd.training.finished_run import load_run
    from cxr_kd.training.launch import train_over
    from cxr_kd.training.one_image import one_image
    from cxr_kd.training.run import train

__version__ = "0.1.0"
__all__ = [
    "agreement_of_students",
    "arms_of",
    "begin",
    "build",
    "choose_cases",
    "choose_examples",
    "decode",
    "explain_examples",
    "fit_on_validation",
    "load",
    "load_run",
    "load_study",
    "maps",
    "measure_maps",
    "observe",
    "one_image",
    "prepare",
    "score_external",
    "train",
    "train_over",
    "upsample",
    "write_ablation",
    "write_across",
    "write_cost_table",
    "write_details",
    "write_exports",
    "write_familiar",
    "write_map_tables",
    "write_report",
    "write_results",
]
_MODULES = {
    "agreement_of_students": "explanation.agreement",
    "arms_of": "study.arms",
    "begin": "notebook",
    "build": "models.build",
    "choose_cases": "explanation.cases",
    "choose_examples": "explanation.examples",
    "decode": "data.images.decode",
    "explain_examples": "explanation.examples",
    "fit_on_validation": "evaluation.details",
    "load": "models.weights",
    "load_run": "training.finished_run",
    "load_study": "study",
    "maps": "explanation.methods.cam",
    "measure_maps": "explanation.measure",
    "observe": "distill.outputs",
    "one_image": "training.one_image",
    "prepare": "data.prepare",
    "score_external": "training.external",
    "train": "training.run",
    "train_over": "training.launch",
    "upsample": "explanation.methods.cam",
    "write_ablation": "evaluation.ablation",
    "write_across": "evaluation.across",
    "write_cost_table": "device.cost_table",
    "write_exports": "device.parity",
    "write_familiar": "device.familiar_table",
    "write_map_tables": "explanation.map_tables",
    "write_report": "report.page",
    "write_details": "evaluation.details",
    "write_results": "evaluation.study_results",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use (PEP 562)."""
    if name == "report":  # a package whose modules notebooks use: cxr_kd.report.figures
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
