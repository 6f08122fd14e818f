"""The losses of logits: values to fifty digits, gradients by finite differences, and invariances."""

from decimal import Decimal, getcontext
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxr_kd.distill.losses import (
    asymmetric,
    bce,
    bce_beyond_source,
    binary_kl,
    correlation,
    focal_bce,
    l2d,
    logit_mse,
    positive_rates,
    prob_mse,
)

getcontext().prec = 50

STUDENT = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]])
TEACHER = torch.tensor([[1.0, -1.5, 1.0], [0.5, 2.0, -2.5]])
LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
KNOWN = torch.ones(2, 3, dtype=torch.bool)
RATES = torch.tensor([0.1, 0.4, 0.75])

LABEL_LOSSES = {
    "bce": bce,
    "bce_beyond_source": partial(bce_beyond_source, source_log_odds=torch.zeros(())),
    "focal_bce": focal_bce,
    "focal_bce, focusing 0.5": partial(focal_bce, focusing=0.5),
    "focal_bce, balanced": partial(focal_bce, positive_rates=RATES),
    "asymmetric": asymmetric,
    "asymmetric, no margin": partial(asymmetric, margin=0.0, positive_focusing=1.0, negative_focusing=0.5),
}
TEACHER_LOSSES = {
    "logit_mse": logit_mse,
    "prob_mse": prob_mse,
    "binary_kl": binary_kl,
    "l2d": l2d,
    "correlation": correlation,
}
label_losses = pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=LABEL_LOSSES)
teacher_losses = pytest.mark.parametrize("loss", TEACHER_LOSSES.values(), ids=TEACHER_LOSSES)

logits = arrays(np.float64, (4, 5), elements=st.floats(-15, 15)).map(torch.from_numpy)
labels = arrays(np.float64, (4, 5), elements=st.sampled_from([0.0, 1.0])).map(torch.from_numpy)


# ---- the equations, one number at a time, to fifty digits ------------------------------------------------------------


def sigmoid(logit):
    return 1 / (1 + (-Decimal(logit)).exp())


def power(base, exponent):
    return Decimal(1) if exponent == 0 else max(base, Decimal(0)) ** Decimal(exponent)


def focal_by_hand(logit, label, focusing=2.0, rate=0.5):
    p = sigmoid(logit)
    p_t = p if label else 1 - p
    weight = 2 * ((1 - Decimal(rate)) if label else Decimal(rate))
    return -weight * power(1 - p_t, focusing) * p_t.ln()


def asymmetric_by_hand(logit, label, plus=0.0, minus=4.0, margin=0.05):
    p = sigmoid(logit)
    if label:
        return -power(1 - p, plus) * p.ln()
    p_m = max(p - Decimal(margin), Decimal(0))
    return -power(p_m, minus) * (1 - p_m).ln()


def kl_by_hand(student, teacher, temperature=1.0):
    s, t = sigmoid(student / temperature), sigmoid(teacher / temperature)
    return Decimal(temperature) ** 2 * (t * (t / s).ln() + (1 - t) * ((1 - t) / (1 - s)).ln())


def mean_by_hand(by_hand, *columns):
    values = [by_hand(*row) for row in zip(*(column.flatten().tolist() for column in columns), strict=True)]
    return float(sum(values) / len(values))


BY_HAND = {
    "bce": partial(focal_by_hand, focusing=0.0),
    "focal_bce": focal_by_hand,
    "focal_bce, focusing 0.5": partial(focal_by_hand, focusing=0.5),
    "asymmetric": asymmetric_by_hand,
    "asymmetric, no margin": partial(asymmetric_by_hand, plus=1.0, minus=0.5, margin=0.0),
}
KL_BY_HAND = {"binary_kl": partial(kl_by_hand, temperature=2.0), "l2d": lambda s, t: 3 * kl_by_hand(s, t)}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("scale", [1.0, 10.0, 25.0])
def test_losses_against_labels_are_their_equations_up_to_logits_of_75(name, scale):
    found = LABEL_LOSSES[name](scale * STUDENT, LABELS, KNOWN)
    assert found.item() == pytest.approx(mean_by_hand(BY_HAND[name], scale * STUDENT, LABELS), rel=2e-6)


@pytest.mark.parametrize("name", KL_BY_HAND)
@pytest.mark.parametrize(("scale", "teacher_scale"), [(1, 1), (10, 1), (1, 10), (25, -25)])
def test_divergences_are_their_equations_up_to_logits_of_75(name, scale, teacher_scale):
    found = TEACHER_LOSSES[name](scale * STUDENT, teacher_scale * TEACHER)
    by_hand = mean_by_hand(KL_BY_HAND[name], scale * STUDENT, teacher_scale * TEACHER)
    assert found.item() == pytest.approx(by_hand, rel=1e-5)


def test_golden_values():
    assert bce(STUDENT, LABELS, KNOWN).item() == pytest.approx(0.2971549, abs=1e-6)
    assert focal_bce(STUDENT, LABELS, KNOWN).item() == pytest.approx(0.0445391, abs=1e-6)
    assert logit_mse(STUDENT, TEACHER).item() == pytest.approx(3.0 / 6)
    squares = ((1 / (1 + np.exp(-STUDENT.numpy())) - 1 / (1 + np.exp(-TEACHER.numpy()))) ** 2).mean()
    assert prob_mse(STUDENT, TEACHER).item() == pytest.approx(squares, rel=1e-5)


def test_balanced_focal_bce_is_its_equation():
    found = focal_bce(STUDENT, LABELS, KNOWN, positive_rates=RATES)
    assert found.item() == pytest.approx(
        mean_by_hand(lambda z, y, rate: focal_by_hand(z, y, rate=rate), STUDENT, LABELS, RATES.expand(2, 3)), rel=1e-5
    )


def test_correlation_equals_numpy():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(4, 5, generator=generator), torch.randn(4, 5, generator=generator)
    s, t = (1 / (1 + np.exp(-side.double().numpy())) for side in (student, teacher))
    between_findings = np.mean([1 - np.corrcoef(s[i], t[i])[0, 1] for i in range(4)])
    between_images = np.mean([1 - np.corrcoef(s[:, c], t[:, c])[0, 1] for c in range(5)])
    assert correlation(student, teacher).item() == pytest.approx(between_findings + between_images, rel=1e-5)


# ---- gradients -------------------------------------------------------------------------------------------------------


@label_losses
def test_gradients_against_labels_agree_with_finite_differences(loss):
    student = STUDENT.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, LABELS.double(), KNOWN), student)


@teacher_losses
def test_gradients_against_a_teacher_agree_with_finite_differences(loss):
    student = STUDENT.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, TEACHER.double()), student)


@pytest.mark.parametrize("size", [50.0, -50.0, 1e4, -6e4])
@label_losses
def test_extreme_logits_give_finite_losses_and_gradients(loss, size):
    student = torch.full((2, 3), size, requires_grad=True)
    value = loss(student, LABELS, KNOWN)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("size", [50.0, -50.0, 1e4, -6e4])
@pytest.mark.parametrize("teacher_size", [0.0, 50.0, -50.0, 6e4])
@teacher_losses
def test_extreme_answers_give_finite_losses_and_gradients(loss, size, teacher_size):
    student = (size + STUDENT).requires_grad_()
    value = loss(student, teacher_size + TEACHER)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("wrong", [50.0, 75.0])
def test_the_gradient_does_not_vanish_if_a_logit_is_far_on_the_wrong_side(wrong):
    student = torch.tensor([[-wrong, wrong]], requires_grad=True)
    truth, known = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    for loss in (
        bce(student, truth, known),
        focal_bce(student, truth, known),
        binary_kl(student, -student.detach(), temperature=1.0),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        torch.testing.assert_close(gradient, torch.tensor([[-0.5, 0.5]]))


# ---- invariances -----------------------------------------------------------------------------------------------------


@label_losses
def test_an_unknown_label_changes_neither_loss_nor_gradient(loss):
    known = KNOWN.clone()
    known[0, 1] = False
    results = []
    for stand_in in (0.0, 1.0, float("nan")):
        truth, student = LABELS.clone(), STUDENT.clone().requires_grad_()
        truth[0, 1] = stand_in
        value = loss(student, truth, known)
        value.backward()
        assert student.grad[0, 1] == 0
        results.append((value.item(), student.grad.clone()))
    assert all(value == results[0][0] and torch.equal(gradient, results[0][1]) for value, gradient in results)


@label_losses
def test_without_known_labels_loss_and_gradient_are_zero(loss):
    student = STUDENT.clone().requires_grad_()
    value = loss(student, torch.full((2, 3), float("nan")), ~KNOWN)
    value.backward()
    assert value.item() == 0
    assert not student.grad.any()


@given(logits, labels, st.permutations(range(4)), st.permutations(range(5)))
def test_the_order_of_images_and_findings_does_not_matter_against_labels(student, truth, rows, columns):
    known = torch.ones(4, 5, dtype=torch.bool)
    for loss in (bce, focal_bce, asymmetric):
        shuffled = loss(student[rows][:, columns], truth[rows][:, columns], known)
        torch.testing.assert_close(shuffled, loss(student, truth, known))


@given(logits, logits, st.permutations(range(4)), st.permutations(range(5)))
def test_the_order_of_images_and_findings_does_not_matter_against_a_teacher(student, teacher, rows, columns):
    for loss in TEACHER_LOSSES.values():
        shuffled = loss(student[rows][:, columns], teacher[rows][:, columns])
        torch.testing.assert_close(shuffled, loss(student, teacher), atol=1e-6, rtol=1e-6)


@given(logits, labels, st.floats(0, 5))
def test_focal_bce_is_symmetric_and_equals_asymmetric_with_equal_settings(student, truth, focusing):
    known = torch.ones(4, 5, dtype=torch.bool)
    focal = focal_bce(student, truth, known, focusing=focusing)
    torch.testing.assert_close(focal_bce(-student, 1 - truth, known, focusing=focusing), focal)
    even = {"positive_focusing": focusing, "negative_focusing": focusing, "margin": 0.0}
    torch.testing.assert_close(asymmetric(student, truth, known, **even), focal)
    torch.testing.assert_close(focal_bce(student, truth, known, focusing=0.0), bce(student, truth, known))


@given(logits, st.floats(0.01, 0.5))
def test_asymmetric_ignores_negatives_below_its_margin(student, margin):
    student = student.requires_grad_()
    loss = asymmetric(student, torch.zeros(4, 5), torch.ones(4, 5, dtype=torch.bool), margin=margin)
    (gradient,) = torch.autograd.grad(loss, student)
    assert not gradient[student.sigmoid() < margin].any()


@given(labels)
def test_balanced_positives_and_negatives_weigh_the_same_over_the_training_labels(truth):
    rates = positive_rates(truth)
    for finding in range(5):
        positive = truth[:, [finding]] > 0.5
        balanced = partial(focal_bce, torch.zeros(4, 1).double(), truth[:, [finding]], positive_rates=rates[[finding]])
        torch.testing.assert_close(balanced(positive) * positive.sum(), balanced(~positive) * (~positive).sum())


def test_positive_rates_count_known_labels_and_a_rate_of_one_half_changes_nothing():
    nan = float("nan")
    rates = positive_rates(torch.tensor([[1.0, nan, 0.0], [0.0, nan, nan], [0.0, nan, 0.0], [nan, nan, 1.0]]))
    torch.testing.assert_close(rates, torch.tensor([1 / 3, 0.5, 1 / 3], dtype=torch.float64))
    halves = torch.full((3,), 0.5)
    assert focal_bce(STUDENT, LABELS, KNOWN, positive_rates=halves) == focal_bce(STUDENT, LABELS, KNOWN)


@given(logits, logits)
def test_a_teacher_loss_is_never_negative_and_zero_at_agreement(student, teacher):
    for name, loss in TEACHER_LOSSES.items():
        assert loss(student, teacher) >= -1e-12
        varies = student.sigmoid().std(dim=0).min() > 1e-4 and student.sigmoid().std(dim=1).min() > 1e-4
        if name != "correlation" or varies:  # correlation is undefined for values that do not vary
            assert abs(loss(student, student).item()) < 1e-9


@given(logits, logits)
def test_divergences_do_not_change_if_all_signs_change(student, teacher):
    for loss in (binary_kl, l2d, prob_mse, logit_mse):
        torch.testing.assert_close(loss(-student, -teacher), loss(student, teacher), atol=1e-9, rtol=1e-6)


@given(logits, logits)
def test_l2d_and_logit_mse_are_special_cases_of_binary_kl(student, teacher):
    """l2d is the sum of binary_kl at temperature 1; at high temperatures binary_kl is an eighth of logit_mse."""
    torch.testing.assert_close(l2d(student, teacher), 5 * binary_kl(student, teacher, temperature=1.0))
    hot = binary_kl(student, teacher, temperature=1e3)
    torch.testing.assert_close(hot, logit_mse(student, teacher) / 8, rtol=1e-3, atol=1e-6)


@given(logits, st.floats(0.05, 1), st.floats(0, 1))
def test_correlation_does_not_depend_on_the_scale_of_the_probabilities(student, scale, place):
    assume(student.sigmoid().std(dim=0).min() > 1e-2 and student.sigmoid().std(dim=1).min() > 1e-2)
    probabilities = student.sigmoid()
    hesitant = torch.logit(scale * probabilities + place * (1 - scale))
    assume(torch.isfinite(hesitant).all())
    assert abs(correlation(hesitant, student).item()) < 1e-6
    assert correlation(-student, student).item() == pytest.approx(4, abs=1e-6)


@given(st.floats(-20, 20))
@example(-6.65625)
def test_correlation_is_zero_if_the_student_does_not_vary(logit):
    student = torch.full((4, 5), logit, requires_grad=True)
    value = correlation(student, torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    value.backward()
    assert value.item() == pytest.approx(2, abs=0.05)  # what rounding leaves of equal values
    assert torch.isfinite(student.grad).all()


@given(st.integers(0, 2**16), st.floats(0.5, 5), st.sampled_from([-1, 1]))
def test_a_shift_of_all_logits_changes_every_loss_although_a_softmax_ignores_it(seed, size, side):
    """A softmax over findings cancels the shift, so its loss is 0 although the student is wrong on every finding."""
    teacher = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    shifted = teacher + side * size
    assert torch.nn.functional.mse_loss(shifted.softmax(1), teacher.softmax(1)).item() < 1e-30
    for name, loss in TEACHER_LOSSES.items():
        assert loss(shifted, teacher).item() > 1e-5, name
    assert logit_mse(shifted, teacher).item() == pytest.approx(size**2)


def test_a_network_gains_nothing_from_what_the_source_alone_says():
    """Two sources with 80 and 20 % positives, and a sign in the image that is worth log-odds of 2 in both."""
    generator = torch.Generator().manual_seed(0)
    source = torch.arange(4000) % 2
    rates = torch.tensor([0.8, 0.2])[source]
    sign = torch.rand(4000, generator=generator) < 0.5
    log_odds = torch.logit(rates) + 2.0 * (sign.float() - 0.5)
    truth = (torch.rand(4000, generator=generator) < log_odds.sigmoid()).float().unsqueeze(1)
    seen = torch.stack([source.float() - 0.5, sign.float() - 0.5], dim=1)  # an image shows both

    def weights(loss):
        layer = torch.nn.Linear(2, 1)
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=100)

        def closure():
            optimizer.zero_grad()
            value = loss(layer(seen), truth, torch.ones_like(truth, dtype=torch.bool))
            value.backward()
            return value

        optimizer.step(closure)
        return layer.weight.detach()[0]

    of_source, of_sign = weights(bce)
    assert of_source < -2
    assert abs(of_sign - 2) < 0.3
    known_rates = torch.logit(torch.stack([truth[source == number].mean() for number in (0, 1)])[source]).unsqueeze(1)
    rest_of_source, of_sign = weights(partial(bce_beyond_source, source_log_odds=known_rates))
    assert abs(rest_of_source) < 0.2 * abs(of_source)  # not 0: a rate over both signs is nearer to one half
    assert abs(of_sign - 2) < 0.3
