"""Which settings differ between studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_kd.study.arms import all_arms
from cxr_kd.study.study import Study

_ABOUT = {
    "title",
    "question",
    "share_predictions",
    "reporting",
}  # what a study says of itself, which no result depends on


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings as one level: {"data": {"split": "official"}} -> {"data.split": "official"}."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def differing_settings(studies: Sequence[Study]) -> dict[str, list[str]]:
    """Return the settings that differ -> their value in each study, as text; "" where a study has no such setting.

    A setting of one teacher or student (`students.ARM.views`) is compared between the studies that have this teacher
    or student.
    """
    settings = [_settings(study) for study in studies]
    entries = [[f"{part}.{arm}." for part, arms in _entries(study).items() for arm in arms] for study in studies]
    found, keys = {}, dict.fromkeys(key for each in settings for key in each)
    for key in keys:
        if any(other.startswith(f"{key}.") for other in keys):
            continue  # null in one study, several settings in another, which are listed
        of_key = {entry for own in entries for entry in own if key.startswith(entry)}
        entry = max(of_key, key=len, default=None)  # a label may have a dot: students.NAME-1 and students.NAME-1.5
        compared = [own for own, has in zip(settings, entries, strict=True) if entry is None or entry in has]
        if len({setting_text(own[key]) if key in own else "" for own in compared}) > 1:
            found[key] = [setting_text(own[key]) if key in own else "" for own in settings]
    return found


def setting_text(value: Any) -> str:
    """Return the value of a setting as a study file has it: true, null, 0.5, [0, 1]."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(setting_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {setting_text(each)}' for key, each in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _settings(study: Study) -> dict[str, Any]:
    dumped = study.model_dump(mode="json", exclude={*_ABOUT, "teachers", "students"})
    return flat({**dumped, **_entries(study)})


def _entries(study: Study) -> dict[str, dict[str, Any]]:
    """The teachers by their network, and the students by their arm."""
    students = [run[0].arm for run in all_arms(study).values() if run[0].role != "teacher"]
    return {
        "teachers": {teacher.network: teacher.model_dump(mode="json") for teacher in study.teachers},
        "students": dict(zip(students, (each.model_dump(mode="json") for each in study.students), strict=True)),
    }
