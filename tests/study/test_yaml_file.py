"""Every odd YAML file is refused at once, with file, line and key; numbers are read as YAML 1.2 defines them."""

import os
import re
from pathlib import Path

import pytest

from cxr_kd.errors import StudyError
from cxr_kd.study import load_study
from cxr_kd.study.yaml_file import LARGEST_FILE, read_yaml

SMOKE = (Path(__file__).parents[2] / "studies" / "smoke.yaml").read_text()
BILLION_LAUGHS = "a: &a [x, x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in ("ab", "bc", "cd", "de"))
LINE = 1 + SMOKE.count("\n")  # of what a test appends to the smoke study


def file_with(folder: Path, content: str | bytes) -> Path:
    file = folder / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("? [a, b]\n: 1", "a key must be text, not a sequence"),
        ("? {a: b}\n: 1", "a key must be text, not a mapping"),
        ("{[a]: 1}: 2", "not a mapping"),
        ("2019: 1", "a key must be text: put 2019 in quotation marks"),
        ("1e-3: 1", "a key must be text: put 1e-3"),
        ("true: 1", "a key must be text: put true"),
        ("? \n: 1", "a key must be text: put it"),
        ("2019-01-01: 1", "2019-01-01: unknown key"),
        ("no: 1", "no: unknown key"),
        ("<<: {title: x}", "<<: unknown key"),
        ("losses: &a [*a]", r"anchors \(&\) and aliases"),
        ("losses: *nothing", r"anchors \(&\) and aliases"),
        ("losses: !!python/object:os.system x", r"tags \(!\) are not allowed"),
        ("image_siz: !!int 64", r"tags \(!\) are not allowed"),
        ("losses: " + "[" * 3000 + "]" * 3000, "nested more than 20 levels deep"),
        ("losses: " + "{a: " * 3000 + "}" * 3000, "nested more than 20 levels deep"),
        ("losses:\n" + "- " * 3000 + "a", None),
        ("augmentation: {scale: 1e999}", r"augmentation.scale: the number '1e999' is too large"),
        ("losses: {margin: -1e999}", r"losses.margin: the number '-1e999' is too large"),
        ("seeds: [12345678901234567890123]", r"seeds.0: the number '1234567.*' is too large"),
        ("seeds: [" + "9" * 5000 + "]", r"seeds.0: the number '9+\.\.\.9+' is too large"),
        ("seeds: [4294967296]", r"seeds.0: .*less than 4294967296, not 4294967296"),
        ("seeds: [010]", r"seeds.0: .*valid integer, not '010'"),
        ("seeds: [0x10]", r"seeds.0: .*valid integer, not '0x10'"),
        ("seeds: [1_000]", r"seeds.0: .*valid integer, not '1_000'"),
        ("seeds: [1:30]", r"seeds.0: .*integer"),
        ("losses: {margin: 1:30}", r"losses.margin: .*valid number, not '1:30'"),
        ("losses: {margin: .nan}", r"losses.margin: .*valid number, not '.nan'"),
        ("keep_aspect: yes", r"keep_aspect: .*not 'yes': write true or false"),
        ("pretrained: no", r"pretrained: .*'imagenet', not 'no': write true or false"),
        ("pretrained: true", r"pretrained: .*'imagenet', not True"),
        ('losses: {a: "\\ud800"}', r"losses.a: the control character U\+D800"),
        ('losses: {a: "\\0"}', r"losses.a: the control character U\+0000"),
        ('losses: "\\UFFFFFFFF"', "not readable as YAML"),
        ("seeds: [0]\nseeds: [1]", "seeds is given twice"),
        ("losses: {margin: 0.1, margin: 0.2}", "losses: margin is given twice"),
        ("losses: 'open", "not readable as YAML"),
        ("--- \nsecond: document", "not readable as YAML"),
    ],
)  # fmt: skip
def test_odd_yaml_is_refused_with_file_and_line(tmp_path: Path, added: str, told: str | None) -> None:
    file = file_with(tmp_path, SMOKE + added + "\n")
    with pytest.raises(StudyError, match=rf"mine\.yaml:\d+: .*{told or ''}") as refused:
        load_study(file)
    assert len(str(refused.value)) < 600
    line = int(re.search(r"mine\.yaml:(\d+)", str(refused.value))[1])
    assert line >= LINE


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BILLION_LAUGHS, r":1: anchors \(&\) and aliases"),
        ("title: Größe".encode("latin-1"), r":1: not UTF-8 \(byte 0xf6\)"),
        (b"title: x\nquestion: \xff", r":2: not UTF-8 \(byte 0xff\)"),
        (b"title: a\x00b", r":1: the control character U\+0000"),
        (b"title: x\n\x1b[31m: y", r":2: the control character U\+001B"),
        ("# large\n" * (LARGEST_FILE // 8 + 1), r": larger than 100,000 bytes"),
        ("", r": a study is a mapping"),
        ("- a list", r": a study is a mapping"),
        ("file: x", r":1: unknown key 'file'"),
        ("[" * 50_000, "nested more than 20 levels deep"),
        ("? " * 40_000, "nested more than 20 levels deep|a key must be text|not readable as YAML"),
        ("a: " * 30_000, r":1: not readable as YAML"),
    ],
    ids=range(12),
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(StudyError, match=rf"mine\.yaml.*({told})"):
        load_study(file_with(tmp_path, content))


def test_pipes_folders_and_impossible_names_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(StudyError, match=r"pipe\.yaml is not a study"):
        load_study(tmp_path / "pipe.yaml")
    with pytest.raises(StudyError, match=r"pipe\.yaml: not a file"):
        read_yaml(tmp_path / "pipe.yaml")
    with pytest.raises(StudyError, match="is not a study"):
        load_study(tmp_path)
    for name in ("x" * 5000, "a\0b", ""):
        with pytest.raises(StudyError):
            load_study(name)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4), ("5E3", 5e3), ("-0.5", -0.5), (".5", 0.5), ("1.", 1.0), ("12", 12), ("-7", -7), ("0", 0),
        ("010", "010"), ("0x1F", "0x1F"), ("0o17", "0o17"), ("1_000", "1_000"), ("1:30", "1:30"), (".inf", ".inf"),
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("true", True), ("False", False), ("null", None), ("~", None),
        ("", None), ("2019-01-01", "2019-01-01"), ("'12'", "12"), ("=", "="), ("1e", "1e"), ("-", None),
    ],
)  # fmt: skip
def test_values_are_read_as_yaml_1_2(tmp_path: Path, written: str, value: object) -> None:
    content = "key:\n- " if written == "-" else f"key: {written}"
    found = read_yaml(file_with(tmp_path, content))[0]["key"]
    assert found == ([None] if written == "-" else value)
    assert type(found) is type(value) or written == "-"


@pytest.mark.parametrize("written", ["false", "null", ""])
def test_random_weights_can_be_asked_for_in_every_plain_way(tmp_path: Path, written: str) -> None:
    study = load_study(file_with(tmp_path, f"{SMOKE}pretrained: {written}\n"))
    assert study.pretrained is None
    run = study.all_runs[0]
    assert study.run_settings(run) == load_study("smoke").run_settings(run)


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    file = file_with(tmp_path, b"\xef\xbb\xbf" + SMOKE.replace("\n", "\r\n").encode())
    assert load_study(file).title == load_study("smoke").title
