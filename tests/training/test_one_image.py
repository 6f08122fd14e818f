"""One training image: the pixels, answers and terms are those of training, of the networks and of the losses."""

import numpy as np
import pytest
import torch
from tiny_study import ALONE, TAUGHT, tiny_study

from cxr_kd.distill import losses
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.outputs import observe
from cxr_kd.training import one_image as module
from cxr_kd.training.distributed import Processes
from cxr_kd.training.finished_run import load_run
from cxr_kd.training.job import Job
from cxr_kd.training.one_image import choose_training_image, one_image
from cxr_kd.training.run import train

MAPS = TAUGHT.replace("}", ", label: maps, objective: {bce: 1.0, logit_mse: 0.5, map_cosine: 0.2}}")
HINT = TAUGHT.replace("}", ", label: hint, objective: {bce: 1.0, hint: 0.5}}")
WEIGHTS = {"bce": 1.0, "logit_mse": 0.5, "map_cosine": 0.2}


@pytest.fixture(scope="module")
def study(home, data):
    study = tiny_study(home, ALONE, MAPS, HINT).model_copy(update={"teacher_views": 3})
    for run in study.all_runs:
        train(study, run, data)
    return study


def networks(study, data):
    teacher, _, student, _ = study.all_runs
    return load_run(study, teacher, data).eval(), load_run(study, student, data).eval()


def test_the_answers_are_those_of_both_networks_to_the_first_view(study, data):
    one = one_image(study, study.all_runs[2], data, 1)
    view = torch.from_numpy(one.views[:1])[None]
    with torch.no_grad():
        teacher, student = (network(view)[0].numpy() for network in networks(study, data))
    np.testing.assert_allclose(one.student, student, atol=1e-4)
    np.testing.assert_allclose(one.teacher, teacher, atol=3e-4)  # stored as float16
    assert np.abs(one.student - one.teacher).max() > 3e-3


def test_the_views_are_those_that_the_student_learned_from(study, data):
    run = study.all_runs[2]
    one = one_image(study, run, data)
    batches = Job(study, run, data, Processes()).batches()
    seen = [
        batch.images[batch.image_ids.index(one.image_id), 0].numpy()
        for epoch in range(run.views)
        for batch in batches.epoch(epoch)
        if one.image_id in batch.image_ids
    ]
    assert len(one.views) == one.number_of_views == run.views == 3
    np.testing.assert_array_equal(one.views, seen)
    np.testing.assert_array_equal(one.image, data.cache.pixels(data.cache.rows([one.image_id]))[0])


def test_the_terms_are_those_of_the_losses(study, data):
    one = one_image(study, study.all_runs[2], data, 2)
    terms = one.terms.set_index("loss")
    assert dict(terms["weight"]) == WEIGHTS
    student, labels = torch.tensor(one.student)[None], torch.tensor(one.labels)[None]
    expected = losses.bce(student, labels.nan_to_num(0), ~labels.isnan()).item()
    assert terms.loc["bce", "of_image"] == pytest.approx(expected, rel=1e-4)
    assert terms.loc["logit_mse", "of_image"] == pytest.approx(np.mean((one.student - one.teacher) ** 2), rel=1e-4)
    assert np.isnan(terms.loc["map_cosine", "of_image"])


def test_the_values_of_the_batch_are_those_of_the_objective(study, data):
    run = study.all_runs[2]
    one = one_image(study, run, data)
    batch = Job(study, run, data, Processes()).batches().batch_with(one.image_id)
    with torch.no_grad():
        teacher, student = (observe(each, batch.images, ("evidence",)) for each in networks(study, data))
    _, wanted = Objective(WEIGHTS)(student, teacher, batch.labels, batch.known)
    assert one.batch_size == len(batch.image_ids)
    for term in one.terms.to_dict("records"):
        assert term["of_batch"] == pytest.approx(wanted[term["loss"]].item(), rel=2e-2)  # answers are float16


def test_a_student_alone_has_no_teacher(study, data):
    one = one_image(study, study.all_runs[1], data)
    assert one.teacher is None
    assert list(one.terms["loss"]) == ["focal_bce"]


def test_a_loss_with_a_layer_that_is_not_kept_has_no_value(study, data):
    terms = one_image(study, study.all_runs[3], data).terms.set_index("loss")
    assert np.isfinite(terms.loc["bce"].to_numpy(float)).all()
    assert np.isnan(terms.loc["hint", ["of_image", "of_batch"]].to_numpy(float)).all()


def test_images_are_training_images_with_a_finding_and_differ_by_number(data):
    frame = data.table.frame.set_index("image_id")[list(data.table.findings)]
    chosen = [choose_training_image(data, number) for number in range(20)]
    assert len(set(chosen)) > 10
    assert all(data.split.side(image_id) == "train" for image_id in chosen)
    assert all((frame.loc[image_id] == 1).any() for image_id in chosen)
    positive = int((frame.loc[list(data.split.train)] == 1).any(axis=1).sum())
    assert choose_training_image(data, positive) == chosen[0], "after the last image comes the first again"
    assert module.SHOWN_VIEWS > 1
