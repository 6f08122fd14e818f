"""The losses of evidence, attention and features: golden values, gradients, and invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_kd.distill.map_losses import (
    SMALLEST_RMS,
    above_batch_mean,
    attention,
    attention_transfer,
    cosine,
    hint,
    map_cosine,
    on_one_grid,
)

seeds = st.integers(0, 2**16)
factors = st.floats(1e-2, 1e3)  # smaller maps of the student come near the floor of map_cosine


def outputs_of(seed, *, images=4, findings=3, grid=7):
    """Return evidence (B, L, grid, grid) and logits (B, L) as of one network, float64."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, findings, grid, grid, dtype=torch.float64, generator=generator)
    return maps, 3 * torch.randn(images, findings, dtype=torch.float64, generator=generator)


def cosine_by_hand(student, teacher, logits):
    """Return the loss of e2KD by numpy, one map at a time, weighted by the excess of each logit over its mean."""
    total, weights = 0.0, 0.0
    for image in range(len(logits)):
        for finding in range(logits.shape[1]):
            weight = max(0.0, logits[image, finding] - logits[:, finding].mean())
            s, t = (np.where(m > 0, m, 0.2 * m)[image, finding].ravel() for m in (student, teacher))
            total += weight * (1 - s @ t / np.sqrt((s @ s) * (t @ t)))
            weights += weight
    return total / weights


@given(seeds, seeds)
@settings(max_examples=20)
def test_map_cosine_is_its_equation(student_seed, teacher_seed):
    student, (teacher, logits) = outputs_of(student_seed)[0], outputs_of(teacher_seed)
    by_hand = cosine_by_hand(student.numpy(), teacher.numpy(), logits.numpy())
    assert map_cosine(student, teacher, logits).item() == pytest.approx(by_hand)


def test_golden_values():
    student = torch.tensor([[[3.0, 4.0]]]).unsqueeze(0).expand(2, 1, 1, 2)
    teacher = torch.tensor([[[4.0, 3.0]]]).unsqueeze(0).expand(2, 1, 1, 2)
    logits = torch.tensor([[2.0], [0.0]])
    assert map_cosine(student, teacher, logits).item() == pytest.approx(1 - 24 / 25)
    assert attention_transfer(student[:, 0], teacher[:, 0]).item() == pytest.approx(2 / 25)
    assert hint(student, teacher).item() == pytest.approx(0.5)
    assert attention(torch.tensor([1.0, -2.0, 3.0]).view(1, 3, 1, 1)).item() == pytest.approx(14 / 3)


def test_gradients_agree_with_finite_differences():
    (student, _), (teacher, logits) = outputs_of(0), outputs_of(1, grid=4)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: map_cosine(maps, teacher, logits), student)
    assert torch.autograd.gradcheck(lambda maps: attention_transfer(attention(maps), attention(teacher)), student)
    assert torch.autograd.gradcheck(lambda maps: hint(maps, teacher), student)


@given(seeds, factors, factors, factors, st.floats(-50, 50))
def test_losses_depend_neither_on_scales_nor_on_the_rate_of_a_finding(
    seed, student_scale, teacher_scale, logit_scale, shift
):
    student, (teacher, logits) = outputs_of(seed)[0], outputs_of(seed + 1)
    scaled = map_cosine(student_scale * student, teacher_scale * teacher, logit_scale * logits)
    torch.testing.assert_close(scaled, map_cosine(student, teacher, logits))
    rarer = logits + torch.tensor([shift, 0.0, 0.0])
    torch.testing.assert_close(map_cosine(student, teacher, rarer), map_cosine(student, teacher, logits))
    ours, theirs = attention(student), attention(teacher)
    scaled = attention_transfer(student_scale * ours, teacher_scale * theirs)
    torch.testing.assert_close(scaled, attention_transfer(ours, theirs))


@given(seeds, st.permutations(range(4)), st.permutations(range(3)))
def test_map_cosine_does_not_depend_on_order_or_orientation(seed, rows, columns):
    student, (teacher, logits) = outputs_of(seed, grid=4)[0], outputs_of(seed + 1)
    loss = map_cosine(student, teacher, logits)
    shuffled = map_cosine(student[rows][:, columns], teacher[rows][:, columns], logits[rows][:, columns])
    torch.testing.assert_close(shuffled, loss)
    torch.testing.assert_close(map_cosine(student.flip(-1).mT, teacher.flip(-1).mT, logits), loss)


@given(seeds, factors)
def test_losses_are_zero_for_proportional_maps_and_largest_for_opposite_maps(seed, factor):
    maps, logits = outputs_of(seed)
    maps = maps.abs()  # negative evidence counts a fifth, so only positive maps have an exact opposite
    assert abs(map_cosine(factor * maps, maps, logits).item()) < 1e-12
    assert map_cosine(-factor * maps, maps, logits).item() == pytest.approx(2)
    assert abs(attention_transfer(factor * maps[:, 0], maps[:, 0]).item()) < 1e-12
    assert hint(maps, maps) == 0


def bump(grid, centre):
    """Return a map (1, 1, grid, grid) with a blob of evidence at `centre` (a fraction of the side)."""
    cells = (torch.arange(grid) + 0.5) / grid
    return torch.exp(-(((cells - centre[0]) / 0.15) ** 2))[:, None] * torch.exp(-(((cells - centre[1]) / 0.15) ** 2))


def test_maps_of_different_grids_are_compared_by_place():
    logits = torch.tensor([[2.0], [-2.0]])
    places = [(0.25, 0.25), (0.5, 0.5), (0.75, 0.25)]
    for place in places:
        teacher = bump(7, place).expand(2, 1, 7, 7)
        costs = [map_cosine(bump(4, other).expand(2, 1, 4, 4), teacher, logits).item() for other in places]
        assert min(costs) == costs[places.index(place)] < 0.15
        assert max(costs) > 0.5
        other_way_round = map_cosine(teacher, bump(4, place).expand(2, 1, 4, 4), logits).item()
        assert other_way_round == pytest.approx(costs[places.index(place)])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.floats(-10, 10))
def test_maps_are_averaged_to_the_smaller_grid_and_stay_constant(height, width, other_height, other_width, value):
    first, second = on_one_grid(torch.full((2, height, width), value), torch.ones(2, other_height, other_width))
    assert first.shape == second.shape == (2, min(height, other_height), min(width, other_width))
    torch.testing.assert_close(first, torch.full_like(first, value))


def test_only_findings_above_the_teachers_batch_mean_have_a_gradient():
    student, (teacher, logits) = outputs_of(0)[0].requires_grad_(), outputs_of(1)
    logits[:, 0] = -4.0  # equal for all images, so none is above the mean
    teacher[2, 1] = 0.0  # no evidence anywhere
    (gradient,) = torch.autograd.grad(map_cosine(student, teacher, logits), student)
    above = logits > logits.mean(dim=0)
    above[2, 1] = False
    assert not above[:, 0].any()
    assert torch.equal(gradient.abs().amax(dim=(-2, -1)) > 0, above)


def test_above_batch_mean_is_the_excess_over_the_mean_of_the_batch():
    logits = torch.tensor([[-3.0, 0.5], [-3.0, 0.5], [0.0, 0.5]])
    torch.testing.assert_close(above_batch_mean(logits), torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]))
    assert not above_batch_mean(logits[:1]).any()


def test_a_map_without_positive_evidence_has_a_useful_gradient():
    """After Grad-CAM's relu the maps of this student and all gradients would be 0."""
    student, (teacher, logits) = -1 - outputs_of(0)[0].abs(), outputs_of(1)
    student.requires_grad_()
    before = map_cosine(student, teacher, logits)
    (gradient,) = torch.autograd.grad(before, student)
    assert map_cosine(student - 0.1 * gradient / gradient.abs().max(), teacher, logits) < before


@pytest.mark.parametrize("scale", [1e3, 1.0, 1e-2, 1e-4, 1e-8, 1e-30, 0.0])
def test_the_gradient_of_map_cosine_is_bounded_however_small_the_student_s_maps(scale):
    student, (teacher, logits) = outputs_of(0)[0], outputs_of(1)
    weights = above_batch_mean(logits)
    student = (scale * student).requires_grad_()
    (gradient,) = torch.autograd.grad(map_cosine(student, teacher, logits), student)
    largest = weights / weights.sum() / (SMALLEST_RMS * 7)  # maps of 7 x 7 cells
    assert (gradient.norm(dim=(-2, -1)) <= largest * (1 + 1e-9)).all()
    assert gradient.norm() > 0


@given(seeds, st.floats(1e-2, 1e2))
def test_the_floor_of_map_cosine_does_not_change_ordinary_maps(seed, scale):
    student, (teacher, logits) = scale * outputs_of(seed)[0], outputs_of(seed + 1)
    weights = above_batch_mean(logits)
    expected = (weights * (1 - cosine(student, teacher))).sum() / weights.sum()
    assert map_cosine(student, teacher, logits).item() == expected.item()


def test_gradients_below_the_floor_agree_with_finite_differences():
    (student, _), (teacher, logits) = outputs_of(0), outputs_of(1, grid=4)
    small = (1e-5 * student).requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: map_cosine(maps, teacher, logits), small, eps=1e-11)


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_maps_without_evidence_give_finite_losses_and_gradients(value):
    student, (teacher, logits) = torch.full((4, 3, 7, 7), value, requires_grad=True), outputs_of(0)
    for loss in (
        map_cosine(student, teacher.float(), logits.float()),
        map_cosine(student, torch.zeros(4, 3, 7, 7), logits.float()),
        map_cosine(student[:1], teacher[:1].float(), logits[:1].float()),
        attention_transfer(attention(student), attention(teacher.float())),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
