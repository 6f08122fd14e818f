"""The objective: the weighted sum of a study's losses, and the outputs that it needs."""

import copy
from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from small_networks import radiographs, small_network

from cxr_kd.distill import losses, map_losses
from cxr_kd.distill.objective import Objective, needs_of
from cxr_kd.distill.outputs import Need, Outputs, observe
from cxr_kd.study.loss_table import LOSSES, NEEDS_LIVE_TEACHER, TEACHER_LOSSES, Loss
from cxr_kd.study.settings import LossSettings, Student

EVERY = tuple(LOSSES)
LABELS = (torch.rand(8, 3, generator=torch.Generator().manual_seed(1)) < 0.4).float()
KNOWN = torch.rand(8, 3, generator=torch.Generator().manual_seed(2)) < 0.9
OF_LABELS = (LABELS, KNOWN, torch.zeros(8, 3))  # with the log-odds of sources


def objective_of(*names, **settings):
    rates = losses.positive_rates(LABELS)
    return Objective(dict.fromkeys(names, 1.0), positive_rates=rates, widths=(6, 9), **settings)


@pytest.fixture
def images():
    return radiographs()


@pytest.fixture
def student():
    return small_network(0, stride=4)


@pytest.fixture
def teacher():
    return small_network(1, channels=9).eval()


@pytest.fixture
def teacher_outputs(teacher, images):
    with torch.no_grad():
        return observe(teacher, images, get_args(Need))


@pytest.mark.parametrize("name", EVERY)
def test_every_loss_of_the_table_gives_the_student_a_gradient(name, student, teacher_outputs, images):
    objective = objective_of(name)
    outputs = observe(student, images, objective.needs)
    answers = teacher_outputs if name in TEACHER_LOSSES else None
    total, terms = objective(outputs, answers, *OF_LABELS)
    total.backward()
    assert list(terms) == [name]
    assert total.item() == terms[name].item() > 0
    assert next(student.backbone.parameters()).grad.abs().max() > 0
    assert all(parameter.grad.abs().max() > 0 for parameter in objective.module.parameters())


def evidence_l1(student, teacher, teacher_logits, *, temperature):
    """A loss that the table does not list: the mean distance of the evidence, divided by a setting."""
    return (student - torch.nn.functional.interpolate(teacher, student.shape[-2:])).abs().mean() / temperature


def test_a_loss_is_added_by_one_function_and_one_line_of_the_table(monkeypatch, student, teacher_outputs, images):
    line = Loss("evidence_l1", "teacher", f"{__name__}:evidence_l1", "a test", "evidence", ("temperature",))
    monkeypatch.setitem(LOSSES, "evidence_l1", line)
    objective = Objective(Student(objective={"evidence_l1": 1.0, "focal_bce": 0.5}).objective, temperature=4.0)
    assert objective.needs == {"evidence"}
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in student.parameters()]
    outputs = observe(student, images, objective.needs)
    total, terms = objective(outputs, teacher_outputs, *OF_LABELS)
    total.backward()
    optimizer.step()
    expected = evidence_l1(
        outputs.part("evidence"), teacher_outputs.part("evidence"), teacher_outputs.logits, temperature=4.0
    )
    assert terms["evidence_l1"] == expected.detach() > 0
    assert all(not torch.equal(old, new) for old, new in zip(before, student.parameters(), strict=True))
    after, _ = objective(observe(student, images, objective.needs), teacher_outputs, *OF_LABELS)
    assert after < total


@pytest.mark.parametrize("name", sorted(TEACHER_LOSSES))
def test_a_teacher_loss_without_the_outputs_it_needs_is_refused(name, student, teacher_outputs, images):
    objective = objective_of(name)
    outputs = observe(student, images, objective.needs)
    with pytest.raises(ValueError, match=f"{name} needs a teacher's outputs"):
        objective(outputs, None, LABELS, KNOWN)
    for need in objective.needs:
        with pytest.raises(ValueError, match=f"have no {need}"):
            objective(outputs, Outputs(teacher_outputs.logits), LABELS, KNOWN)


def test_the_needs_are_those_of_the_losses_with_a_weight():
    assert Objective({"focal_bce": 1.0, "logit_mse": 0.5}).needs == set()
    assert Objective({"focal_bce": 1.0, "map_cosine": 0.0}).needs == set()
    assert Objective({"map_cosine": 0.1, "attention_transfer": 1}).needs == {"evidence", "attention"}
    assert {name for name in EVERY if "features" in needs_of([name])} == NEEDS_LIVE_TEACHER <= TEACHER_LOSSES


def test_the_objective_is_the_weighted_sum_of_its_terms(student, teacher_outputs, images):
    weights = {"focal_bce": 1.0, "logit_mse": 0.5, "map_cosine": 0.1, "bce": 0.0}
    outputs = observe(student, images, ("evidence",))
    total, terms = Objective(weights, focusing=1.0)(outputs, teacher_outputs, LABELS, KNOWN)
    assert set(terms) == {"focal_bce", "logit_mse", "map_cosine"}
    expected = losses.focal_bce(outputs.logits, LABELS, KNOWN, focusing=1.0)
    expected = expected + 0.5 * losses.logit_mse(outputs.logits, teacher_outputs.logits)
    expected = expected + 0.1 * map_losses.map_cosine(
        outputs.part("evidence"), teacher_outputs.part("evidence"), teacher_outputs.logits
    )
    torch.testing.assert_close(total, expected)
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize("weights", [{}, {"bce": 0.0}, {"no_such_loss": 1.0}, {"bce": 1.0, "no_such_loss": 0.0}])
def test_an_objective_without_a_known_loss_is_refused(weights):
    with pytest.raises(ValueError, match=r"loss"):
        Objective(weights)


@pytest.mark.parametrize(("name", "missing"), [("hint", "widths"), ("focal_bce_balanced", "positive_rates")])
def test_a_loss_without_the_values_it_is_built_from_is_refused(name, missing):
    with pytest.raises(ValueError, match=f"{name} needs {missing}"):
        Objective({name: 1.0})


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("focusing", 0.5, "focal_bce"),
        ("focusing", 0.5, "focal_bce_balanced"),
        ("positive_focusing", 1.0, "asymmetric"),
        ("negative_focusing", 1.0, "asymmetric"),
        ("margin", 0.3, "asymmetric"),
        ("temperature", 5.0, "binary_kl"),
    ],
)
def test_every_setting_reaches_its_loss_and_no_other(setting, value, name, student, teacher_outputs, images):
    needs = objective_of(*EVERY).needs
    outputs = observe(student, images, needs)
    torch.manual_seed(0)
    _, before = objective_of(*EVERY)(outputs, teacher_outputs, *OF_LABELS)
    torch.manual_seed(0)
    _, after = objective_of(*EVERY, **{setting: value})(outputs, teacher_outputs, *OF_LABELS)
    changed = {each for each in EVERY if before[each] != after[each]}
    assert name in changed
    assert changed <= {"focal_bce", "focal_bce_balanced"} if setting == "focusing" else changed == {name}


def test_settings_are_those_of_the_study():
    Objective({"bce": 1.0}, **LossSettings().model_dump())
    with pytest.raises(ValidationError, match="sharpness"):
        Objective({"bce": 1.0}, sharpness=1.0)


def test_stored_answers_change_losses_only_by_rounding(student, teacher_outputs, images):
    """Losses of float16 outputs equal those of the same numbers in float32, and are close to the original's."""
    names = sorted(TEACHER_LOSSES - NEEDS_LIVE_TEACHER)
    objective, stored = objective_of(*names), teacher_outputs.to(torch.float16)
    outputs = observe(student, images, objective.needs)
    total, terms = objective(outputs, stored, LABELS, KNOWN)
    assert total.dtype == torch.float32
    assert terms == objective(outputs, stored.to(torch.float32), LABELS, KNOWN)[1]
    live = objective(outputs, teacher_outputs, *OF_LABELS)[1]
    for name in names:
        assert terms[name].item() == pytest.approx(live[name].item(), rel=5e-3, abs=1e-5)


@pytest.mark.parametrize("size", [50.0, -50.0, 6e4, -6e4])
def test_stored_answers_of_any_size_give_finite_losses_and_gradients(size, images):
    names = sorted(set(EVERY) - NEEDS_LIVE_TEACHER)
    generator = torch.Generator().manual_seed(0)
    logits = (size * torch.rand(8, 3, generator=generator).round()).half()
    stored = Outputs(
        logits, evidence=(logits[:, :, None, None] * torch.rand(8, 3, 7, 7)).half(), attention=torch.rand(8, 7, 7)
    )
    for student in (torch.zeros(8, 3), torch.full((8, 3), 6e4), torch.full((8, 3), -6e4)):
        parts = [student, torch.randn(8, 3, 4, 4), torch.rand(8, 4, 4)]
        for part in parts:
            part.requires_grad_()
        total, terms = objective_of(*names)(Outputs(*parts), stored, *OF_LABELS)
        total.backward()
        assert all(torch.isfinite(term) for term in terms.values()), terms
        assert all(torch.isfinite(part.grad).all() for part in parts)


def test_automatic_mixed_precision_does_not_reach_the_losses(student, teacher_outputs, images):
    objective = objective_of("hint", "map_cosine", "logit_mse")
    outputs = observe(student, images, objective.needs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, terms = objective(outputs, teacher_outputs, *OF_LABELS)
    assert terms == objective(outputs, teacher_outputs, *OF_LABELS)[1]


@pytest.mark.parametrize("name", ["map_cosine", "attention_transfer", "hint"])
def test_a_student_learns_to_look_where_its_teacher_looks(name, student, teacher_outputs, images):
    torch.manual_seed(0)
    objective = objective_of(name)
    optimizer = torch.optim.Adam([*student.parameters(), *objective.module.parameters()], lr=0.02)
    history = []
    for _ in range(60):
        loss, _ = objective(observe(student, images, objective.needs), teacher_outputs, *OF_LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]


def test_a_student_like_its_teacher_has_nothing_to_learn(teacher, images):
    twin = copy.deepcopy(teacher)
    objective = objective_of(*sorted(TEACHER_LOSSES - {"hint"}))
    with torch.no_grad():
        teacher_outputs = observe(teacher, images, objective.needs)
    total, _ = objective(observe(twin, images, objective.needs), teacher_outputs, *OF_LABELS)
    total.backward()
    assert abs(total.item()) < 1e-5
    assert all(parameter.grad.abs().max() < 1e-4 for parameter in twin.parameters())


def test_a_loss_that_needs_sources_says_so(student, images):
    with pytest.raises(ValueError, match="bce_beyond_source needs source_log_odds="):
        objective_of("bce_beyond_source")(observe(student, images), None, LABELS, KNOWN)


@pytest.mark.parametrize("name", EVERY)
def test_the_table_says_which_losses_compare_images_with_each_other(name, student, teacher_outputs, images):
    """All others are the mean of their values for single images: here no label is unknown."""
    objective, known = objective_of(name), torch.ones_like(KNOWN)
    outputs = observe(student.eval(), images, objective.needs)

    def value(rows: slice) -> float:
        own, teacher = (each.each(lambda part: part[rows]) for each in (outputs, teacher_outputs))
        return objective(own, teacher, LABELS[rows], known[rows], torch.zeros(8, 3)[rows])[0].item()

    single = [value(slice(row, row + 1)) for row in range(len(images))]
    same = value(slice(None)) == pytest.approx(sum(single) / len(single), rel=1e-4)
    assert same is not LOSSES[name].compares_images


def test_every_loss_has_a_formula():
    assert [name for name, loss in LOSSES.items() if not loss.formula] == []
