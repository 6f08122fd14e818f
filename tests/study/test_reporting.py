"""The setting `reporting`: plain text, checked; anything that is no answer is refused with its place."""

from pathlib import Path

import pytest

from cxr_kd.errors import StudyError
from cxr_kd.study import load_study
from cxr_kd.study.reporting import LONGEST, REPORTING_FIELDS, Reporting
from cxr_kd.study.steps import steps

ROOT = Path(__file__).parents[2]


def written(folder: Path, reporting: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text((ROOT / "studies" / "smoke.yaml").read_text() + f"reporting: {reporting}\n")
    return file


def test_nothing_has_to_be_said() -> None:
    reporting = load_study(ROOT / "studies" / "smoke.yaml").reporting
    assert set(reporting.model_dump().values()) == {None}


def test_every_setting_says_what_to_write() -> None:
    assert set(REPORTING_FIELDS) == set(Reporting.model_fields)
    assert all(len(what) > 15 for what in REPORTING_FIELDS.values())


def test_a_folded_text_becomes_one_line(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, "\n  funding: >-\n    Nobody   paid\n    for this study."))
    assert study.reporting.funding == "Nobody paid for this study."


@pytest.mark.parametrize(
    ("reporting", "message"),
    [
        ("{funding: ''}", r"reporting.funding: '' is not an answer: write it, or leave the line out"),
        ("{funding: TODO write this later}", r"reporting.funding: 'TODO write this later' is not an answer"),
        ("{ethics: '?'}", r"reporting.ethics: '\?' is not an answer"),
        ("{funding: none}", r"reporting.funding: 'none' is too short to answer the item: write a whole sentence"),
        ("{funding: 12}", r"reporting.funding: Input should be a valid string, not 12"),
        ("{funding: [a, b]}", r"reporting.funding: Input should be a valid string"),
        ("{fundings: Nobody paid for this study.}", r"unknown key; did you mean 'funding'\?"),
        (f"{{funding: {'a ' * LONGEST}}}", r"reporting.funding: has 7,999 characters; write at most 4,000"),
        ("a text", r"reporting: Input should be an object, not 'a text'"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused_with_its_line(tmp_path: Path, reporting: str, message: str) -> None:
    with pytest.raises(StudyError, match=rf"mine\.yaml:\d+: .*{message}"):
        load_study(written(tmp_path, reporting))


def test_a_new_answer_runs_the_report_again_and_nothing_else(tmp_path: Path) -> None:
    before = {step.name: step.identity for step in steps(load_study(written(tmp_path, "{}")))}
    after = {s.name: s.identity for s in steps(load_study(written(tmp_path, "{funding: Nobody paid for this study.}")))}
    assert [name for name in before if before[name] != after[name]] == ["08_report"]
