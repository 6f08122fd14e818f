"""The losses: golden values by hand, gradients by finite differences, and what must not change them."""

import math
from functools import partial
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.distill.losses import LOSSES, bce, focal_bce, logit_mse
from cxr_kd.distill.objective import Objective
from cxr_kd.settings import TEACHER_LOSSES, LossName

STUDENT = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]])
TEACHER = torch.tensor([[1.0, -1.5, 1.0], [0.5, 2.0, -2.0]])
LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
KNOWN = torch.ones(2, 3, dtype=torch.bool)


def by_hand(focusing):
    """The focal loss of Lin et al., equation 4, one number at a time."""
    values = []
    for logit, label in zip(STUDENT.flatten().tolist(), LABELS.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_t = p if label else 1 - p
        values.append(-((1 - p_t) ** focusing) * math.log(p_t))
    return sum(values) / len(values)


def test_a_study_may_name_exactly_the_losses_there_are():
    assert set(LOSSES) == set(get_args(LossName))
    assert set(LOSSES) >= TEACHER_LOSSES


@pytest.mark.parametrize("focusing", [0.0, 1.0, 2.0, 5.0])
def test_focal_bce_is_its_equation(focusing):
    assert focal_bce(STUDENT, None, LABELS, KNOWN, focusing=focusing).item() == pytest.approx(
        by_hand(focusing), rel=1e-5
    )


def test_golden_values():
    assert bce(STUDENT, None, LABELS, KNOWN).item() == pytest.approx(0.2971549, abs=1e-6)
    assert focal_bce(STUDENT, None, LABELS, KNOWN).item() == pytest.approx(0.0445391, abs=1e-6)
    assert logit_mse(STUDENT, TEACHER, LABELS, KNOWN).item() == pytest.approx(2.75 / 6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_agree_with_finite_differences(name):
    student = STUDENT.double().requires_grad_()
    loss = partial(LOSSES[name], teacher=TEACHER.double(), labels=LABELS.double(), known=KNOWN)
    assert torch.autograd.gradcheck(loss, student)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [50.0, -50.0, 1e4])
def test_extreme_logits_give_finite_losses_and_gradients(name, size):
    student = torch.full((2, 3), size, requires_grad=True)
    loss = LOSSES[name](student, TEACHER, LABELS, KNOWN)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", sorted(set(LOSSES) - TEACHER_LOSSES))
def test_an_unknown_label_changes_neither_loss_nor_gradient(name):
    known = KNOWN.clone()
    known[0, 1] = False
    results = []
    for stand_in in (0.0, 1.0, float("nan")):
        labels, student = LABELS.clone(), STUDENT.clone().requires_grad_()
        labels[0, 1] = stand_in
        loss = LOSSES[name](student, None, labels, known)
        loss.backward()
        assert student.grad[0, 1] == 0
        results.append((loss.item(), student.grad.clone()))
    assert all(value == results[0][0] and torch.equal(gradient, results[0][1]) for value, gradient in results)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - TEACHER_LOSSES))
def test_nothing_known_costs_nothing(name):
    student = STUDENT.clone().requires_grad_()
    loss = LOSSES[name](student, None, torch.full((2, 3), float("nan")), ~KNOWN)
    loss.backward()
    assert loss.item() == 0
    assert not student.grad.any()


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_logit_mse_sees_a_shift_of_all_logits_which_a_softmax_hides(logit, shift):
    student = torch.full((1, 4), logit)
    loss = logit_mse(student, student + shift, torch.zeros(1, 4), KNOWN[:1, :1].expand(1, 4))
    assert loss.item() == pytest.approx(shift**2, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(student.softmax(1), (student + shift).softmax(1))


def test_a_loss_that_needs_a_teacher_says_so():
    with pytest.raises(ValueError, match="teacher"):
        logit_mse(STUDENT, None, LABELS, KNOWN)


def test_the_objective_is_the_weighted_sum_of_its_terms():
    total, terms = Objective({"focal_bce": 1.0, "logit_mse": 0.5, "bce": 0.0}, focusing=1.0)(
        STUDENT, TEACHER, LABELS, KNOWN
    )
    assert set(terms) == {"focal_bce", "logit_mse"}
    assert total.item() == pytest.approx(by_hand(1.0) + 0.5 * 2.75 / 6, rel=1e-5)


@pytest.mark.parametrize("weights", [{}, {"bce": 0.0}, {"no_such_loss": 1.0}])
def test_an_objective_without_a_known_loss_is_refused(weights):
    with pytest.raises(ValueError, match=r"loss"):
        Objective(weights)
