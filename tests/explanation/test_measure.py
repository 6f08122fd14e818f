"""A study's maps, measured from end to end on tiny phantoms with two trained seeds; pairs, controls and tables."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_study import finish

from cxr_kd import study as studies
from cxr_kd.data.prepare import prepare
from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.study_results import read_predictions
from cxr_kd.explanation import controls
from cxr_kd.explanation.cases import FOUND, KINDS, STUDENT_ONLY, TEACHER_ONLY, calls, choose_cases
from cxr_kd.explanation.choice import chosen, compare_forms
from cxr_kd.explanation.map_tables import COMPARED, compared_maps, read_map_tables, write_map_tables
from cxr_kd.explanation.measure import measure_maps
from cxr_kd.explanation.measures import CEILING, CENTRE, EDGES, MEAN_PLACE, PLACE_MEASURES, RANDOM, UNTRAINED
from cxr_kd.explanation.methods.cam import maps
from cxr_kd.explanation.methods.grids import explainer
from cxr_kd.explanation.pair_maps import pair_maps
from cxr_kd.explanation.pairs import marked_pairs, positive_pairs
from cxr_kd.explanation.places import box_pixels
from cxr_kd.models.build import build

STUDY = """
title: Tiny
question: Where do they look?
data:
  dataset: phantom
  phantom: {images: 80, size: 64, minimum_rate: 0.2}
image_size: 64
teachers: [eeea_net_c2]
students:
  - {network: eeea_net_c2}
  - {network: eeea_net_c2, teacher: eeea_net_c2}
  - {network: eeea_net_c2, teacher: eeea_net_c2, label: maps, objective: {focal_bce: 1.0, map_cosine: 0.1}}
teacher_views: 1
teacher_training: {epochs: 1}
student_training: {epochs: 1}
seeds: [0, 1]
evaluation: {resamples: 50, minimum_positives: 2}
explanation: {marked_images: 12, forms: [plain, shift2], perturbed: 3}
"""
CONTROL, PLAIN, MAPS = "eeea_net_c2_alone", "eeea_net_c2_from_eeea_net_c2", "eeea_net_c2_from_eeea_net_c2-maps"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    file = tmp_path_factory.mktemp("home") / "studies" / "tiny.yaml"
    file.parent.mkdir()
    file.write_text(STUDY)
    return studies.load_study(file)


@pytest.fixture(scope="module")
def data(study):
    return prepare(study, workers=1, progress=False)


@pytest.fixture(scope="module")
def measured(study, data):
    finish(study)
    return measure_maps(study, data, lambda text: None)


def test_pairs_are_the_drawn_findings_of_the_side_with_their_pixels(data):
    pairs = marked_pairs(data, "test", 1000)
    places = pairs.place(slice(None))
    assert set(pairs.image_ids) <= set(data.split.test)
    for image_id, column, place in zip(pairs.image_ids, pairs.columns, places, strict=True):
        np.testing.assert_array_equal(place, data.table.masks(image_id)[data.table.findings[column]])
    np.testing.assert_allclose(pairs.shares(), places.mean(axis=(1, 2)))
    assert len(set(marked_pairs(data, "test", 5).image_ids)) <= 5


def test_batches_give_each_pair_its_own_image(data, monkeypatch):
    monkeypatch.setattr("cxr_kd.explanation.pairs.BATCH_SIZE", 4)
    pairs = positive_pairs(data, "test", 11)
    seen = []
    for which, rows, images in pairs.batches(data):
        for position, row in zip(range(len(pairs))[which], rows, strict=True):
            own = data.cache.pixels(data.cache.rows([pairs.image_ids[position]]))[0]
            np.testing.assert_array_equal(images[row, 0].numpy(), own)
            seen.append(position)
    assert seen == list(range(len(pairs)))


def test_each_pairs_map_is_that_of_its_finding(data):
    network = build("eeea_net_c2", data.table.findings, image_size=64).eval()
    pairs = marked_pairs(data, "test", 6)
    found = pair_maps(explainer(network, "plain"), pairs, data)
    for position in (0, len(pairs) - 1):
        pixels = data.cache.pixels(data.cache.rows([pairs.image_ids[position]]))
        with torch.no_grad():
            logits, shown = maps(network, torch.from_numpy(pixels)[None])
        column = pairs.columns[position]
        np.testing.assert_allclose(np.maximum(found.maps[position], 0), shown[0, column], rtol=1e-4, atol=1e-6)
        assert found.logits[position] == pytest.approx(logits[0, column].item(), abs=1e-5)


def test_a_box_is_cut_at_the_border_and_covers_its_share():
    assert box_pixels(20, 0.25, 0.5, 0.5, 0.25).mean() == pytest.approx(0.125)
    assert box_pixels(20, 0.8, 0.8, 0.9, 0.9).mean() == pytest.approx(0.04)
    assert not box_pixels(20, 1.2, 0.1, 0.3, 0.3).any()


def test_controls_do_not_depend_on_a_network_and_know_only_the_training_side(data):
    test, train_pairs = marked_pairs(data, "test", 10), marked_pairs(data, "train", 60)
    found = controls.control_maps(test, data, (4, 4), train_pairs)
    assert found[RANDOM].shape == (len(test), 4, 4)
    peaks = found[CENTRE].reshape(len(test), -1).argmax(axis=1)
    assert set(peaks) <= {5, 6, 9, 10}
    again = controls.control_maps(test, data, (4, 4), train_pairs)
    for name, control in found.items():
        np.testing.assert_array_equal(control, again[name])
    if MEAN_PLACE in found:
        column = test.columns[0]
        shares = train_pairs.place(train_pairs.columns == column).reshape(-1, 4, 16, 4, 16).mean(axis=(0, 2, 4))
        np.testing.assert_allclose(found[MEAN_PLACE][0], shares, rtol=1e-5)
    without = marked_pairs(data, "train", 2)
    assert MEAN_PLACE not in controls.control_maps(test, data, (4, 4), without)


def test_every_network_control_and_the_ceiling_are_measured_on_the_same_pairs(study, measured):
    values = measured.values
    of_arm = values.groupby(["arm", "seed"])["image_id"].apply(tuple)
    assert len(set(of_arm)) == 1
    assert {*study_arms(study), CEILING, RANDOM, EDGES, UNTRAINED} <= set(values["arm"])
    assert (values.loc[values["arm"] == CEILING, "inside"] > 0).all()
    assert values[list(PLACE_MEASURES)].drop(columns=["inside", "specific"]).notna().all().all()


def test_a_map_that_is_the_same_for_all_patients_has_nothing_beyond_other_patients_maps(measured):
    values = measured.values
    assert (values.loc[values["arm"].isin([CENTRE, MEAN_PLACE]), "specific"].dropna() == 0).all()
    best = values[values["arm"] == CEILING]
    assert best["specific"].mean() > 0.1
    assert (best["moved"] == best["pointing"]).all()
    looks = measured.thresholds[["down_px", "right_px"]].to_numpy()
    assert (np.abs(looks) < 32).all()  # half the image
    assert looks.any()


def test_the_form_is_the_best_of_the_validation_side_by_the_stated_rule(measured):
    frame = measured.comparison
    score = (frame["inside"] + frame["pointing"]).groupby([frame["form"], frame["reading"]]).mean()
    assert score[(measured.choice.form, measured.choice.reading)] == score.max()
    assert chosen(frame) == measured.choice
    assert set(frame["form"]) == {"plain", "shift2"}


def test_a_form_that_the_study_names_is_used_whichever_finds_the_most(data):
    network = build("eeea_net_c2", data.table.findings, image_size=64).eval()
    pairs = marked_pairs(data, "validation", 4)
    found = {form: {"student": pair_maps(explainer(network, form), pairs, data)} for form in ("plain", "shift2")}
    for form in found:
        frame = compare_forms(found, pairs, form=form)
        assert chosen(frame).form == form
        assert set(frame["form"]) == {"plain", "shift2"}


def test_students_are_compared_with_teacher_chance_and_other_seed(measured):
    rows = measured.likeness
    assert set(rows["with"]) == {"teacher", "chance", "other seed"}
    assert set(rows.loc[rows["with"] == "teacher", "arm"]) == {CONTROL, PLAIN, MAPS}
    with_teacher = rows[(rows["with"] == "teacher") & (rows["arm"] == PLAIN)]
    assert with_teacher["rank"].between(-1.000001, 1.000001).all()


def test_tables_are_written_read_and_complete(study, measured):
    tables = write_map_tables(study, measured)
    again = read_map_tables(study)
    for name, frame in tables.items():
        assert len(again[name]) == len(frame)
    assert compared_maps(study) == [(CONTROL, PLAIN), (CONTROL, MAPS), (PLAIN, MAPS)]
    differences = again["differences.csv"]
    compared = list(zip(differences["first"], differences["second"], strict=True))
    assert compared[:: len(COMPARED) + 1] == compared_maps(study)
    own = measured.values[measured.values["arm"] == MAPS].groupby("image_id", sort=False)["pointing"]
    estimate = again["maps.csv"].query("arm == @MAPS and by == 'all' and measure == 'pointing'")["estimate"].item()
    assert estimate == pytest.approx(measured.values.loc[measured.values["arm"] == MAPS, "pointing"].mean())
    assert len(own) > 1
    (study.runs_folder / "explanations" / "maps.csv").write_text("arm\nx\n")
    with pytest.raises(PredictionsError, match=r"maps\.csv: no column kind"):
        read_map_tables(study)
    (study.runs_folder / "explanations" / "maps.csv").unlink()
    with pytest.raises(PredictionsError, match="run notebook 06_explain"):
        read_map_tables(study)


def study_arms(study) -> set[str]:
    return {run.arm for run in study.all_runs}


def test_without_places_only_likeness_is_measured(study, data, measured, monkeypatch):
    from dataclasses import replace

    unmarked = replace(data, table=replace(data.table, masks=None, boxes=data.table.boxes.iloc[:0]))
    found = measure_maps(study, unmarked, lambda text: None)
    assert found.values.empty
    assert found.comparison.empty
    assert len(found.likeness)
    tables = write_map_tables(study, found)
    assert isinstance(tables["maps.csv"], pd.DataFrame)
    assert tables["maps.csv"].empty
    assert set(tables["differences.csv"]["measure"]) == {"rank"}


def test_cases_are_of_the_kind_that_they_are_called(study, data, measured):
    chosen = choose_cases(study, data, "eeea_net_c2", PLAIN, 2)
    assert list(chosen) == list(KINDS)
    pairs = [pair for of_kind in chosen.values() for pair in of_kind]
    assert pairs
    assert len({image_id for image_id, _ in pairs}) == len(pairs)
    predictions = {side: read_predictions(study, ["eeea_net_c2", PLAIN], side) for side in ("validation", "test")}
    for arm, finders in (("eeea_net_c2", (FOUND, TEACHER_ONLY)), (PLAIN, (FOUND, STUDENT_ONLY))):
        called = calls(predictions["validation"][arm][0], predictions["test"][arm][0])
        for kind, of_kind in chosen.items():
            for image_id, finding in of_kind:
                test = predictions["test"][arm][0]
                row = list(test.frame["image_id"]).index(image_id)
                assert called[row, test.findings.index(finding)] == (kind in finders)
                assert test.labels[row, test.findings.index(finding)] == 1
    assert choose_cases(study, data, "eeea_net_c2", PLAIN, 2) == chosen
