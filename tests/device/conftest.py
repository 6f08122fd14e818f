from pathlib import Path

import pytest
from runs_to_export import write_fits, write_run

from cxr_kd.device.export import export
from cxr_kd.device.exported import ExportedModel


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """Return the folder of a calibrated run."""
    folder = write_run(tmp_path_factory.mktemp("net-seed0"))
    write_fits(folder)
    return folder


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory) -> ExportedModel:
    return export(run, tmp_path_factory.mktemp("exported") / "student.onnx")
