"""External testing never scores a network on images or patients that it has learned from."""

import shutil

import pytest
from own_miniatures import write_folder
from tiny_study import ALONE, TAUGHT, finish, tiny_study

from cxr_kd.errors import DataError
from cxr_kd.evaluation.across import PREDICTIONS
from cxr_kd.study import load_study
from cxr_kd.training.external import score_external


def with_data_sets(study, text):
    study.file.write_text(study.file.read_text().split("\nevaluate_on:")[0] + "\n" + text)
    return load_study(study.file)


def test_a_network_is_not_tested_on_patients_that_it_learned_from(tmp_path):
    write_folder(tmp_path / "ours", size=32)
    shutil.copytree(tmp_path / "ours", tmp_path / "theirs")
    data = "  dataset: folder\n  findings: [Effusion, Nodule]\n"
    study = tiny_study(tmp_path, ALONE, TAUGHT)
    text = study.file.read_text()
    phantom = text[text.index("  dataset: phantom") : text.index("image_size")]
    study.file.write_text(text.replace(phantom, data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_KD_DATA", str(tmp_path / "ours"))
        study = load_study(study.file)
        finish(study)
        name = "theirs:\n    root: theirs\n    data: {dataset: folder, findings: [Effusion, Nodule]"
        known = with_data_sets(study, f"evaluate_on:\n  {name}}}\n")
        with pytest.raises(DataError, match=r"was trained on \d+ of the 120 images on the test side.*cannot be scored"):
            score_external(known, workers=1, progress=False)
        assert not (known.external_folder(known.all_runs[0], "theirs") / PREDICTIONS).exists()
        renamed = with_data_sets(study, f"evaluate_on:\n  {name}, folder: {{name: another hospital}}}}\n")
        with pytest.raises(DataError, match=r"was trained on \d+ of the 120 images"):  # the files are the same
            score_external(renamed, workers=1, progress=False)
        write_folder(tmp_path / "theirs", images=90, size=48, seed=5)
        score_external(renamed, workers=1, progress=False)
        strangers = with_data_sets(study, f"evaluate_on:\n  {name}}}\n")  # other images, the same patient ids
        with pytest.raises(DataError, match=r"other images of \d+ of the 60 patients .* give this data set a `name`"):
            score_external(strangers, workers=1, progress=False)
