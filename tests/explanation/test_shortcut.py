"""Planted networks that read only the drain, or only the pneumothorax, are told apart on phantoms."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr_kd import study as studies
from cxr_kd.data.images.resize import resized
from cxr_kd.data.prepare import prepare
from cxr_kd.explanation.measures import DRAIN_KINDS, PAINTED_IN_ILL, PAINTED_IN_WELL, PAINTED_OUT
from cxr_kd.explanation.methods.grids import explainer
from cxr_kd.explanation.places import at_size
from cxr_kd.explanation.shortcut import (
    COLUMNS,
    FINDING,
    drain_pixels,
    shortcut,
)
from cxr_kd.models.build import build

STUDY = """
title: Tiny
question: Does it read the drain?
data:
  dataset: phantom
  phantom: {images: 80, size: 96, minimum_rate: 0.25}
image_size: 64
teachers: [eeea_net_c2]
students:
  - {network: eeea_net_c2}
  - {network: eeea_net_c2, teacher: eeea_net_c2}
teacher_training: {epochs: 1}
student_training: {epochs: 1}
"""
SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("home") / "studies" / "tiny.yaml"
    file.parent.mkdir()
    file.write_text(STUDY)
    return prepare(studies.load_study(file), workers=1, progress=False)


@pytest.fixture(scope="module")
def without(data):
    """The images of the test side without a drain, (N, S, S), in the order of the split."""
    return np.stack([resized(data.table.drain_versions(i)[1], SIZE) for i in data.split.test]).astype(int)


def planted(data, without, evidence_of):
    """An explainer whose evidence for pneumothorax is evidence_of(image id, image shown, the same without a drain).

    It knows the images by heart: it finds the one that is most like the one it is shown.
    """
    ids = list(data.split.test)
    column = data.table.findings.index(FINDING)

    def explain(images):
        logits = torch.zeros(len(images), len(data.table.findings))
        evidence = torch.full((*logits.shape, SIZE, SIZE), -1.0)
        for i, image in enumerate(images[:, 0].numpy().astype(int)):
            known = int(np.abs(without - image).mean(axis=(1, 2)).argmin())
            one = torch.from_numpy(evidence_of(ids[known], image, without[known])).float()
            evidence[i, column], logits[i, column] = one, one.sum()
        return logits, evidence

    return explain


@pytest.fixture(scope="module")
def of_drain(data, without):
    return shortcut(planted(data, without, lambda image_id, image, plain: (image - plain) / 255), data, limit=100)


def mask_of(data, image_id):
    mask = data.table.masks(image_id).get(FINDING)
    return np.zeros((SIZE, SIZE)) if mask is None else at_size(mask, SIZE).astype(float)


@pytest.fixture(scope="module")
def of_pneumothorax(data, without):
    return shortcut(planted(data, without, lambda image_id, image, plain: mask_of(data, image_id)), data, limit=100)


def test_the_image_of_the_study_is_one_of_the_two_versions(data):
    for image_id in data.split.test[:12]:
        drain = data.table.frame.set_index("image_id").loc[image_id, "drain"]
        version = resized(data.table.drain_versions(image_id)[0 if drain else 1], SIZE)
        np.testing.assert_array_equal(version, data.cache.pixels(data.cache.rows([image_id]))[0])


def test_every_image_of_the_test_side_is_of_the_kind_that_was_drawn(data, of_drain):
    truth = data.table.select(data.split.test).frame.set_index("image_id")
    assert tuple(of_drain.columns) == COLUMNS
    for image_id, kind in of_drain[["image_id", "kind"]].itertuples(index=False):
        drain, ill = truth.loc[image_id, ["drain", "truth:Pneumothorax"]] == 1
        assert kind == (PAINTED_OUT if drain and ill else PAINTED_IN_ILL if ill else PAINTED_IN_WELL)
        assert ill or not drain
    left_out = (truth["drain"] == 1) & (truth["truth:Pneumothorax"] == 0)
    assert len(of_drain) == of_drain["image_id"].nunique() == len(truth) - left_out.sum()
    assert set(of_drain["kind"]) == set(DRAIN_KINDS)


def test_a_network_that_reads_only_the_drain_is_found_out(of_drain):
    assert (of_drain["drain_share"] > 0.97).all()
    assert (of_drain["drain_effect"] > 1).all()
    assert (of_drain["logit_without"].abs() < 1e-6).all()
    assert (of_drain.loc[of_drain["kind"] != PAINTED_IN_WELL, "pneumothorax_share"] < 0.03).all()
    assert of_drain["drain_area"].between(0.01, 0.1).all()


def test_a_network_that_reads_only_the_pneumothorax_is_not_accused(of_pneumothorax):
    ill = of_pneumothorax[of_pneumothorax["kind"] != PAINTED_IN_WELL]
    assert (of_pneumothorax["drain_effect"] == 0).all()
    assert (ill["pneumothorax_share"] > ill["drain_share"]).mean() > 0.9
    np.testing.assert_allclose(ill["drain_share"], ill["ideal_drain_share"], rtol=1e-5)
    # All its evidence is on the pneumothorax: under the drain or outside it.
    np.testing.assert_allclose(ill["pneumothorax_share"] + ill["drain_share"], 1, rtol=1e-5)


def test_where_there_is_no_pneumothorax_there_is_no_share_of_it(of_drain, of_pneumothorax):
    for frame in (of_drain, of_pneumothorax):
        well = frame["kind"] == PAINTED_IN_WELL
        for name in ("pneumothorax_share", "pneumothorax_area", "ideal_drain_share"):
            np.testing.assert_array_equal(frame[name].isna(), well)
    assert of_pneumothorax.loc[of_pneumothorax["kind"] == PAINTED_IN_WELL, "drain_share"].isna().all()  # no evidence


def test_even_evidence_has_the_shares_of_chance(data, without):
    frame = shortcut(planted(data, without, lambda image_id, image, plain: np.ones((SIZE, SIZE))), data, limit=4)
    np.testing.assert_allclose(frame["drain_share"], frame["drain_area"], rtol=1e-5)
    np.testing.assert_allclose(frame["pneumothorax_share"], frame["pneumothorax_area"], rtol=1e-5)


def test_the_reading_says_what_counts_as_evidence(data, without):
    negative = planted(data, without, lambda image_id, image, plain: (image - plain) / 255 - 1.0)
    assert shortcut(negative, data, limit=2)["drain_share"].isna().all()
    assert (shortcut(negative, data, limit=2, reading="relative")["drain_share"] > 0.9).all()


def test_the_limit_is_of_each_kind_and_the_seed_chooses(data, without, of_drain):
    explain = planted(data, without, lambda image_id, image, plain: (image - plain) / 255)
    chosen = [shortcut(explain, data, limit=2, seed=seed) for seed in (0, 0, 1, 2)]
    assert chosen[0]["kind"].value_counts().to_dict() == dict.fromkeys(DRAIN_KINDS, 2)
    assert chosen[0].equals(chosen[1])
    assert any(not chosen[0]["image_id"].equals(other["image_id"]) for other in chosen[2:])
    whole = of_drain.set_index("image_id").loc[chosen[2]["image_id"]].reset_index()[list(COLUMNS)]
    assert whole.drop(columns="drain_effect_sd").equals(chosen[2].drop(columns="drain_effect_sd"))


def test_a_real_network_is_measured_image_by_image(data):
    network = build("eeea_net_c2", data.table.findings, image_size=SIZE).eval()
    frame = shortcut(explainer(network, "plain"), data, limit=3, reading="relative")
    column = data.table.findings.index(FINDING)
    for row in frame.to_dict("records"):
        versions = np.stack([resized(image, SIZE) for image in data.table.drain_versions(row["image_id"])])
        with torch.no_grad():
            logits = network(torch.from_numpy(versions)[:, None])[:, column]
        np.testing.assert_allclose([row["logit_with"], row["logit_without"]], logits, rtol=1e-4, atol=1e-5)
        assert row["drain_effect"] == pytest.approx(row["logit_with"] - row["logit_without"], abs=1e-6)
        assert 0 <= row["drain_share"] <= 1


def test_standardised_effects_do_not_depend_on_the_scale_of_the_logits(data):
    network = build("eeea_net_c2", data.table.findings, image_size=SIZE).eval()
    plain = explainer(network, "plain")

    def scaled(images):
        logits, evidence = plain(images)
        return 7 * logits + 2, evidence

    one, other = shortcut(plain, data, limit=4), shortcut(scaled, data, limit=4)
    spread = np.std(one.loc[one["kind"] == PAINTED_IN_WELL, "logit_without"], ddof=1)
    np.testing.assert_allclose(one["drain_effect_sd"], one["drain_effect"] / spread)
    np.testing.assert_allclose(other["drain_effect"], 7 * one["drain_effect"], rtol=1e-2, atol=1e-5)
    np.testing.assert_allclose(other["drain_effect_sd"], one["drain_effect_sd"], rtol=1e-2, atol=1e-2)
    assert shortcut(plain, data, limit=1)["drain_effect_sd"].isna().all()


def test_the_pixels_of_the_drain_are_those_that_differ_noticeably_and_a_margin():
    without = np.full((1, 100, 100), 100, np.uint8)
    with_drain = without.copy()
    with_drain[0, 40:60, 50] = 108
    with_drain[0, 80, 80] = 107  # not noticed
    found = drain_pixels(with_drain, without)[0]
    expected = np.zeros((100, 100), bool)
    expected[38:62, 48:53] = True
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(drain_pixels(without, with_drain)[0], expected)


def test_no_image_of_these_kinds_gives_an_empty_frame(data):
    frame = data.table.frame.assign(drain=1.0).assign(**{"truth:Pneumothorax": 0.0})
    empty = shortcut(None, replace(data, table=replace(data.table, frame=frame)), limit=5)
    assert (len(empty), tuple(empty.columns)) == (0, COLUMNS)


def test_without_a_drain_on_the_test_side_drains_are_only_painted_in(data):
    table = replace(data.table, frame=data.table.frame.assign(drain=0.0))
    frame = shortcut(
        lambda images: (torch.zeros(len(images), 14), torch.zeros(len(images), 14, 2, 2)),
        replace(data, table=table),
        limit=2,
    )
    assert set(frame["kind"]) == {PAINTED_IN_ILL, PAINTED_IN_WELL}
    assert (frame["drain_effect"] == 0).all()
    assert frame[["drain_share", "drain_effect_sd"]].isna().all(axis=None)


def test_other_data_and_other_findings_give_none(data):
    assert shortcut(None, replace(data, table=replace(data.table, drain_versions=None)), limit=5) is None
    others = [name for name in data.table.findings if name != FINDING]
    assert shortcut(None, replace(data, table=data.table.with_findings(others)), limit=5) is None
