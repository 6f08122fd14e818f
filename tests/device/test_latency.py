"""Latency is measured in turn, once per architecture, and leaves the models and the thread count as they were."""

import numpy as np
import pytest
import torch

from cxr_kd.device import cost_table as cost_tables
from cxr_kd.device.cost_table import COLUMNS, cost_table
from cxr_kd.device.latency import cpu_name, latencies_ms, latency_ratio
from cxr_kd.models.build import build

FINDINGS = ("Mass", "Nodule")


@pytest.fixture(scope="module")
def student():
    return build("eeea_net_c2", FINDINGS, image_size=64).eval()


@pytest.fixture(scope="module")
def teacher():
    return build("densenet121", FINDINGS, image_size=64).eval()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def passes(*models):
    """Record each forward pass of the models: (name, thread count, training mode)."""
    seen = []
    for model in models:
        model.backbone.register_forward_hook(
            lambda *_, model=model: seen.append((model.name, torch.get_num_threads(), model.training))
        )
    return seen


@pytest.fixture
def without_hooks(student, teacher):
    yield
    for model in (student, teacher):
        model.backbone._forward_hooks.clear()


def test_the_models_are_timed_in_turn_and_not_one_after_the_other(student, teacher, without_hooks):
    seen = passes(student, teacher)
    milliseconds = latencies_ms({"student": student, "teacher": teacher}, repeats=3)
    one_round = ["eeea_net_c2"] * 3 + ["densenet121"] * 3  # two passes to warm up, one that is timed
    assert [name for name, _, _ in seen] == one_round * 3
    assert {name: times.shape for name, times in milliseconds.items()} == {"student": (3,), "teacher": (3,)}
    assert all((times > 0).all() for times in milliseconds.values())


@pytest.mark.parametrize("training", [True, False])
def test_threads_and_mode_are_restored(student, two_threads, without_hooks, training):
    seen = passes(student.train(training))
    latencies_ms({"student": student}, repeats=2, threads=1)
    assert set(seen) == {("eeea_net_c2", 1, False)}
    assert (torch.get_num_threads(), student.training) == (2, training)
    student.eval()


def test_they_are_restored_after_an_error_as_well(student, two_threads):
    def fail(*_):
        raise RuntimeError("a failing network")

    handle = student.train().backbone.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="a failing network"):
        latencies_ms({"student": student}, repeats=2)
    handle.remove()
    assert (torch.get_num_threads(), student.training) == (2, True)
    student.eval()


def test_no_repeats_are_refused(student):
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        latencies_ms({"student": student}, repeats=0)


def test_timing_does_not_touch_the_running_statistics(student):
    before = student.backbone.stem.bn.running_mean.clone()
    latencies_ms({"student": student.train()}, repeats=2)
    assert torch.equal(student.eval().backbone.stem.bn.running_mean, before)


def test_a_ratio_is_taken_within_rounds_so_that_a_busy_machine_cancels():
    random = np.random.default_rng(0)
    busy = np.where(np.arange(60) < 25, 3.0, 1.0)  # other work slows everything during the first 25 rounds
    faster, slower = 6 * busy, 15 * busy * random.normal(1, 0.02, 60)
    ratio, low, high = latency_ratio(slower, faster)
    assert low < 2.5 < high
    assert ratio == pytest.approx(2.5, rel=0.02)
    assert high - low < 0.1
    assert latency_ratio(slower, slower) == (1, 1, 1)
    assert latency_ratio(slower, faster) == (ratio, low, high)  # the resamples are seeded


def test_a_noisy_measurement_has_a_wide_interval():
    noise = np.random.default_rng(0).lognormal(0, 0.5, (2, 40))
    few, many = (latency_ratio(noise[0, :n], noise[1, :n]) for n in (10, 40))
    assert few[1] < 1 < few[2]
    assert few[2] - few[1] > many[2] - many[1] > 0.1


def test_runs_of_one_architecture_share_one_measurement(student, teacher, without_hooks):
    again = build("eeea_net_c2", FINDINGS, image_size=64).eval()
    seen = passes(student, again)
    models = {"densenet121-seed0": teacher, "eeea_net_c2_alone-seed0": student, "eeea_net_c2_from_x-seed0": again}
    table = cost_table(models, repeats=3)
    assert len(seen) == 9
    students = table[table["network"] == "eeea_net_c2"].drop(columns="run")
    assert students.iloc[0].equals(students.iloc[1])


def test_the_cost_table_has_one_row_per_run(student, teacher):
    table = cost_table({"densenet121-seed0": teacher, "eeea_net_c2_alone-seed0": student}, repeats=9)
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS
    assert list(table["run"]) == ["densenet121-seed0", "eeea_net_c2_alone-seed0"]
    assert list(table["network"]) == ["densenet121", "eeea_net_c2"]
    large, small = table.iloc[0], table.iloc[1]
    assert (large[["parameters", "macs", "file_mb"]] > small[["parameters", "macs", "file_mb"]]).all()
    assert (table["latency_ms_p25"] <= table["latency_ms_median"]).all()
    assert (table["latency_ms_median"] <= table["latency_ms_p75"]).all()
    assert (table["cpu"] == cpu_name()).all()


def test_ratios_compare_every_network_with_that_of_the_row(student, teacher, monkeypatch):
    milliseconds = {"densenet121": np.array([20.0, 63.0, 22.0]), "eeea_net_c2": np.array([10.0, 30.0, 10.0])}
    monkeypatch.setattr(cost_tables, "latencies_ms", lambda *_, **__: milliseconds)
    table = cost_table({"densenet121-seed0": teacher, "eeea_net_c2_alone-seed0": student}, repeats=3)
    large, small = table.iloc[0], table.iloc[1]
    assert small["latency_ratio:densenet121"] == pytest.approx(2.1)  # of 2.0, 2.1 and 2.2
    assert small["latency_ratio_low:densenet121"] == pytest.approx(2.0)
    assert small["latency_ratio_high:densenet121"] == pytest.approx(2.2)
    assert large["latency_ratio:eeea_net_c2"] == pytest.approx(1 / 2.1)
    assert small["latency_ratio:eeea_net_c2"] == large["latency_ratio:densenet121"] == 1
    assert list(table["latency_ms_median"]) == [22, 10]
    assert large["latency_ms_iqr"] == large["latency_ms_p75"] - large["latency_ms_p25"] == pytest.approx(21.5)


def test_networks_of_several_image_sizes_are_not_compared(student):
    other = build("eeea_net_c2", FINDINGS, image_size=96)
    with pytest.raises(ValueError, match=r"several image sizes \[64, 96\]"):
        cost_table({"small": student, "large": other})


def test_this_processor_has_a_name():
    assert cpu_name().strip()
