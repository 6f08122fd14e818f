"""Timing leaves the machine as it found it and measures what it says."""

import pytest
import torch

from cxr_kd.device.cost_table import COLUMNS, cost_table
from cxr_kd.device.latency import cpu_name, latency_ms
from cxr_kd.errors import ModelError
from cxr_kd.models.build import build

FINDINGS = ("Mass", "Nodule")


@pytest.fixture(scope="module")
def student():
    return build("eeea_net_c2", FINDINGS, image_size=64).eval()


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_percentiles_are_in_order_and_positive(student):
    latency = latency_ms(student, repeats=7)
    assert 0 < latency.p5 <= latency.p25 <= latency.median <= latency.p75 <= latency.p95
    assert latency.iqr == latency.p75 - latency.p25
    assert (latency.repeats, latency.threads, latency.cpu) == (7, 1, cpu_name())


@pytest.mark.parametrize("training", [True, False])
def test_threads_and_mode_are_restored(student, two_threads, training):
    threads = []
    handle = student.backbone.register_forward_hook(
        lambda *_: threads.append((torch.get_num_threads(), student.training))
    )
    student.train(training)
    latency_ms(student, repeats=2, threads=1, warm_up=1)
    handle.remove()
    assert threads == [(1, False)] * 3
    assert (torch.get_num_threads(), student.training) == (2, training)
    student.eval()


def test_they_are_restored_after_an_error_as_well(student, two_threads):
    with pytest.raises(ModelError, match="was built for images of shape"):
        latency_ms(student, 96)
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        latency_ms(student, repeats=0)
    assert torch.get_num_threads() == 2


def test_timing_does_not_touch_the_running_statistics(student):
    before = student.backbone.stem.bn.running_mean.clone()
    latency_ms(student.train(), repeats=2)
    assert torch.equal(student.eval().backbone.stem.bn.running_mean, before)


def test_the_cost_table_has_one_row_a_model_and_the_larger_network_is_slower(student):
    teacher = build("densenet121", FINDINGS, image_size=64)
    table = cost_table({"densenet121-seed0": teacher, "eeea_net_c2_alone-seed0": student}, 64, repeats=9)
    assert tuple(table.columns) == COLUMNS
    assert list(table["run"]) == ["densenet121-seed0", "eeea_net_c2_alone-seed0"]
    assert list(table["network"]) == ["densenet121", "eeea_net_c2"]
    large, small = table.iloc[0], table.iloc[1]
    assert (large[["parameters", "macs", "file_mb"]] > small[["parameters", "macs", "file_mb"]]).all()
    assert large["latency_ms_median"] > small["latency_ms_median"]
    assert (table["latency_ms_p25"] <= table["latency_ms_median"]).all()
    assert (table["latency_ms_median"] <= table["latency_ms_p75"]).all()


def test_this_processor_has_a_name():
    assert cpu_name().strip()
