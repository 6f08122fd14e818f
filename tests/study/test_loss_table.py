"""The table of losses agrees with the functions and settings that it names."""

import importlib
import inspect

import pytest

from cxr_kd.study.loss_table import LABEL_LOSSES, LOSSES, NEEDS_LIVE_TEACHER, TEACHER_LOSSES, Loss, known_loss
from cxr_kd.study.settings import LossSettings


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
def test_the_function_exists_and_takes_the_settings(loss: Loss) -> None:
    module, function = loss.function.split(":")
    takes = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert set(loss.settings) <= set(takes) & set(LossSettings.model_fields)
    assert not loss.positive_rates or "positive_rates" in takes
    assert not loss.source_log_odds or "source_log_odds" in takes
    assert loss.source


def test_every_loss_setting_belongs_to_a_loss() -> None:
    assert {name for loss in LOSSES.values() for name in loss.settings} == set(LossSettings.model_fields)


def test_each_loss_is_against_labels_or_a_teacher() -> None:
    assert set(LOSSES) == LABEL_LOSSES | TEACHER_LOSSES
    assert not LABEL_LOSSES & TEACHER_LOSSES
    assert {"hint"} == NEEDS_LIVE_TEACHER
    assert all(loss.against == "teacher" for loss in LOSSES.values() if loss.needs)


def test_an_unknown_loss_is_named_with_the_closest_one() -> None:
    assert known_loss("l2d") == "l2d"
    with pytest.raises(ValueError, match="unknown loss 'focal_bc'; did you mean 'focal_bce'"):
        known_loss("focal_bc")
