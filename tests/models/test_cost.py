"""Counted costs against published costs, arithmetic, and the costs stored in the registry."""

import pytest

from cxr_kd.models.build import build
from cxr_kd.models.cost import count_cost, file_size_mb, macs, parameters
from cxr_kd.models.registry import info, names
from cxr_kd.models.weights import save


@pytest.mark.parametrize("name", names())
def test_the_costs_stored_in_the_registry_are_the_counted_costs(name):
    assert info(name).counted == count_cost(name)


@pytest.mark.parametrize("name", names())
def test_counted_costs_are_close_to_the_published_costs(name):
    published = info(name).published
    assert count_cost(name).macs == pytest.approx(published.get("macs", count_cost(name).macs), rel=0.05)
    findings = 1000 if "1000-way" in info(name).published_source else 14
    assert count_cost(name, findings=findings).parameters == pytest.approx(published["parameters"], rel=0.01)


def test_each_finding_adds_the_multiply_accumulates_of_its_row_of_the_head(findings):
    fourteen, one = count_cost("densenet121"), count_cost("densenet121", findings=1)
    assert fourteen.macs - one.macs == 13 * 1024
    assert fourteen.parameters - one.parameters == 13 * (1024 + 1)


def test_macs_of_a_model_at_its_own_and_at_another_size(findings):
    model = build("eeea_net_c2", findings, image_size=64)
    assert macs(model) == count_cost("eeea_net_c2", image_size=64).macs
    assert macs(model, 224) == info("eeea_net_c2").counted.macs
    assert parameters(model) == info("eeea_net_c2").counted.parameters


def test_file_size_is_the_size_of_the_file_and_close_to_the_papers(tmp_path, findings):
    model = build("eeea_net_c2", findings)
    save(model, tmp_path / "model.safetensors", {})
    assert file_size_mb(tmp_path / "model.safetensors") == (tmp_path / "model.safetensors").stat().st_size / 2**20
    assert file_size_mb(model) == pytest.approx(file_size_mb(tmp_path / "model.safetensors"), rel=1e-3)
    assert file_size_mb(model) == pytest.approx(info("eeea_net_c2").published["file_size_mb"], abs=0.15)
