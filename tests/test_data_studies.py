"""The shipped studies of other data sets, each run from end to end on a small copy of its format that a test writes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from miniatures import write_chexpert, write_padchest
from own_miniatures import write_chestmnist, write_folder

from cxr_kd import study as studies
from cxr_kd.errors import ModelError
from cxr_kd.models.check_networks import check_run

ROOT = Path(__file__).parent.parent
# A budget of seconds; everything under `data:` stays as shipped.
SMALL = {
    "image_size": 32,
    "teachers": ["eeea_net_c2"],
    "students": [{"network": "eeea_net_c2"}, {"network": "eeea_net_c2", "teacher": "eeea_net_c2"}],
    "teacher_views": 1,
    "teacher_training": {"epochs": 1, "batch_size": 16},
    "student_training": {"epochs": 1, "batch_size": 16},
    "seeds": [0],
    "evaluation": {"resamples": 20, "minimum_positives": 2},
    "explanation": {"images": 2},
    "device": {"latency_repeats": 3},
}
WRITERS: dict[str, Callable[[Path], object]] = {
    "chexpert": write_chexpert,
    "padchest": write_padchest,
    "chestmnist": write_chestmnist,
    "own-data": write_folder,
}
# Further data sets that a study tests its networks on.
FURTHER = {
    "chexpert": {
        "phantoms": {"data": {"dataset": "phantom", "phantom": {"images": 40, "size": 32, "minimum_rate": 0.3}}}
    }
}
# What the report must say about how the data were read.
TOLD = {
    "chexpert": ("(-1)", "blank", "Other hospitals: external testing"),
    "padchest": ("matched as whole labels", "by a network trained on their labels"),
    "chestmnist": ("patient", "too narrow"),
    "own-data": ("own data",),
}


NOWHERE = "http://127.0.0.1:9"  # nothing answers there, as without a network


def run(study: Path, data: Path | None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), "--profile",
               str(ROOT / "workflow" / "profiles" / "local"), "--directory", str(study.parent.parent),
               "--config", f"study={study}"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "CXR_KD_DATA"}
    environment |= {"CXR_KD_DATA": str(data)} if data else {"https_proxy": NOWHERE, "http_proxy": NOWHERE}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", ["chexpert", "padchest", "own-data"])  # chestmnist downloads its data
def test_without_its_data_a_study_says_what_to_put_where(name: str, tmp_path: Path):
    ended = run(ROOT / "studies" / f"{name}.yaml", None)
    assert ended.returncode != 0
    assert re.search(rf"make study STUDY=studies/{name}\.yaml DATA=DIR .*Put there ", ended.stdout + ended.stderr)


@pytest.mark.slow
def test_without_a_network_chestmnist_says_what_to_put_where(tmp_path: Path):
    study = tmp_path / "studies" / "chestmnist.yaml"
    study.parent.mkdir()
    study.write_text((ROOT / "studies" / study.name).read_text())
    ended = run(study, None)
    assert ended.returncode != 0
    told = r"the download failed \(.*\)\. Put chestmnist_64\.npz of ChestMNIST into .*runs/chestmnist"
    assert re.search(told, ended.stdout + ended.stderr)
    assert not list((tmp_path / "runs" / "chestmnist").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_a_study_runs_from_end_to_end_on_a_miniature(name: str, tmp_path: Path):
    data, study = tmp_path / "data", tmp_path / "studies" / f"{name}.yaml"
    data.mkdir()
    study.parent.mkdir()
    WRITERS[name](data)
    shipped = yaml.safe_load((ROOT / "studies" / study.name).read_text())
    scratch = {} if name == "own-data" else {"pretrained": None}  # own-data must run as shipped
    study.write_text(yaml.safe_dump({**shipped, **SMALL, **scratch, "evaluate_on": FURTHER.get(name, {})}))
    ended = run(study, data)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    card = json.loads((tmp_path / "runs" / name / "data.json").read_text())
    loaded = studies.load_study(study)
    assert card["kind"] == ("own" if name == "own-data" else "mini")
    assert card["split"]["name"] == loaded.data.split
    assert all(side["images"] > 0 for side in card["split"]["sides"].values())
    assert card["quarantined"] == 0
    page = (tmp_path / "reports" / name / "index.html").read_text()
    for text in TOLD[name]:
        assert text in page


@pytest.mark.slow
def test_a_study_that_init_wrote_runs_from_end_to_end(tmp_path: Path):
    data, study = tmp_path / "my data", tmp_path / "studies" / "mine.yaml"
    write_folder(data)
    command = [sys.executable, "-m", "cxr_kd.cli", "init", str(data), "labels.csv", "--study", str(study)]
    assert subprocess.run(command).returncode == 0
    study.write_text(yaml.safe_dump({**yaml.safe_load(study.read_text()), **SMALL}))
    ended = run(study, data)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "my data" in (tmp_path / "reports" / "mine" / "index.html").read_text()


def test_own_data_needs_no_published_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CXR_KD_WEIGHTS", str(tmp_path))
    study = studies.load_study("own-data")
    for each in study.all_runs:
        check_run(study, each)
    pretrained = study.model_copy(update={"pretrained": "imagenet"})
    with pytest.raises(ModelError, match="ImageNet weights of eeea_net_c2"):
        check_run(pretrained, pretrained.all_runs[-1])
