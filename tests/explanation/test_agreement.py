"""Agreement is the cosine of evidence where a finding is present, with an interval over patients."""

import numpy as np
import pytest
import torch
from squares import FINDINGS, squares

from cxr_kd.data.cache import build_cache
from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Split
from cxr_kd.distill.map_losses import map_cosine
from cxr_kd.distill.outputs import observe
from cxr_kd.explanation import agreement
from cxr_kd.explanation.agreement import evidence_agreements, mean_agreement
from cxr_kd.models.build import build
from cxr_kd.study.settings import Evaluation


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Prepared:
    table = squares(tmp_path_factory.mktemp("squares"), side=64)
    ids = list(table.frame["image_id"])
    split = Split("by hand", tuple(ids[:16]), tuple(ids[16:24]), tuple(ids[24:]))
    return Prepared(table, build_cache(table, tmp_path_factory.mktemp("cache"), 64, progress=False), split)


def network(seed: int):
    torch.manual_seed(seed)
    model = build("eeea_net_c2", FINDINGS, image_size=64).eval()
    torch.nn.init.normal_(model.head.output.weight)
    return model


def test_a_network_agrees_with_itself_more_than_with_another(data):
    same, other = evidence_agreements({"same": network(0), "other": network(1)}, network(0), data).values()
    labels = data.table.select(data.split.test).labels()
    np.testing.assert_array_equal(np.isfinite(same), labels == 1)  # only where the finding is present
    np.testing.assert_allclose(same[labels == 1], 1, atol=1e-5)
    assert np.nanmean(other) < 0.9
    np.testing.assert_allclose(
        other, evidence_agreements({"turned": network(0)}, network(1), data)["turned"], atol=1e-5
    )


def test_agreement_is_the_cosine_that_the_loss_increases(data):
    first, second = network(0), network(1)
    (batch,) = data.batches("test", 64).epoch(0)
    with torch.no_grad():
        one, two = (observe(each, batch.images, {"evidence"}) for each in (first, second))
    image = int((batch.labels[:, 0] == 1).nonzero()[0])
    seen = torch.full_like(two.logits, -1.0)
    seen[image, 0] = 5.0  # the only finding that the teacher sees
    loss = map_cosine(one.evidence, two.evidence, seen)
    others = evidence_agreements({"first": first}, second, data)["first"]
    weights = torch.relu(seen - seen.mean(dim=0))
    assert (weights > 0).sum() == 1
    assert 1 - loss.item() == pytest.approx(others[image, 0], abs=1e-4)


def test_each_network_sees_each_image_once(data, monkeypatch):
    teacher, students = network(9), {name: network(seed) for seed, name in enumerate("abc")}
    seen = {id(each): 0 for each in (teacher, *students.values())}

    def counted(model, images, parts):
        seen[id(model)] += len(images)
        return observe(model, images, parts)

    monkeypatch.setattr(agreement, "observe", counted)
    found = agreement.evidence_agreements(students, teacher, data)
    assert list(seen.values()) == [len(data.split.test)] * 4
    for name, each in students.items():
        np.testing.assert_array_equal(found[name], evidence_agreements({"alone": each}, teacher, data)["alone"])


def test_the_interval_is_over_patients():
    values = np.array([[1.0, np.nan], [0.0, np.nan], [0.5, 0.5], [np.nan, np.nan]])
    estimate, low, high = mean_agreement(values, np.array(["a", "b", "c", "d"]), Evaluation(resamples=500))
    assert estimate == pytest.approx(0.5)
    assert 0 <= low < 0.5 < high <= 1
    of_one = mean_agreement(np.full((6, 2), 0.3), np.array(["a"] * 6), Evaluation(resamples=50))
    assert of_one == pytest.approx((0.3, 0.3, 0.3))
    assert np.isnan(mean_agreement(np.full((2, 2), np.nan), np.array(["a", "b"]), Evaluation(resamples=50))[0])
