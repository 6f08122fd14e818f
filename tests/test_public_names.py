"""`import cxr_kd` is light, and offers what a user of a trained network needs."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cxr_kd
from cxr_kd.models.build import build
from cxr_kd.models.weights import save

HEAVY = ("torch", "pandas", "numpy", "pydantic", "yaml", "matplotlib", "IPython")


def test_importing_it_loads_nothing_heavy() -> None:
    program = f"import cxr_kd, sys; dir(cxr_kd); print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(cxr_kd.__all__) == cxr_kd.__all__
    assert set(cxr_kd.__all__) == set(cxr_kd._MODULES) <= set(dir(cxr_kd))
    for name in cxr_kd.__all__:
        assert getattr(cxr_kd, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = cxr_kd.lode


def test_editors_and_mypy_see_the_names_that_are_loaded() -> None:
    told = re.findall(r"^    from (cxr_kd\.\S+) import (.+)$", Path(cxr_kd.__file__).read_text(), re.MULTILINE)
    typed = {name: module for module, names in told for name in names.split(", ")}
    assert typed == {name: f"cxr_kd.{module}" for name, module in cxr_kd._MODULES.items()}


def test_the_example_of_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    findings = ("Effusion", "Nodule")
    save(build("eeea_net_c2", findings, image_size=64), tmp_path / "model.safetensors", {})
    Image.fromarray(np.arange(90 * 80, dtype=np.uint32).reshape(90, 80).astype(np.uint8)).save("radiograph.png")
    example = textwrap.dedent(cxr_kd.__doc__.split("network:\n\n")[1])
    names: dict = {}
    exec(example, names)
    assert tuple(names["probabilities"]) == findings
    assert all(0 < value < 1 for value in names["probabilities"].values())
    assert names["maps"].shape == (1, 2, 2, 2)
