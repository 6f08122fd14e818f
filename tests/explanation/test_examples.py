"""Examples are drawn at random from positive test images; their maps come from one pass per network."""

import numpy as np
import pytest
import torch

from cxr_kd import study as studies
from cxr_kd.data.prepare import prepare
from cxr_kd.explanation.examples import choose_examples, explain_examples
from cxr_kd.explanation.methods.cam import maps
from cxr_kd.explanation.places import place_of
from cxr_kd.models.build import build

STUDY = """
title: Tiny
question: Which images are explained?
data:
  dataset: phantom
  phantom: {images: 120, size: 32, minimum_rate: 0.2, label_noise: 0.1}
image_size: 32
teachers: [eeea_net_c2]
students:
  - {network: eeea_net_c2}
teacher_training: {epochs: 1}
student_training: {epochs: 1}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("home") / "studies" / "tiny.yaml"
    file.parent.mkdir()
    file.write_text(STUDY)
    return prepare(studies.load_study(file), workers=1, progress=False)


def test_chosen_images_are_positive_test_images_of_different_findings(data):
    chosen = choose_examples(data, 8)
    assert len(chosen) == 8
    assert len({image_id for image_id, _ in chosen}) == 8
    assert len({finding for _, finding in chosen}) == 8
    frame = data.table.frame.set_index("image_id")
    for image_id, finding in chosen:
        assert image_id in data.split.test
        assert frame.loc[image_id, finding] == 1


def test_the_seed_determines_the_choice(data):
    assert choose_examples(data, 5) == choose_examples(data, 5)
    assert choose_examples(data, 5) != choose_examples(data, 5, seed=1)


def test_a_wrong_positive_label_has_no_place(data):
    """A finding that is reported but was not drawn (label noise) has no mask."""
    frame = data.table.frame
    for finding in data.table.findings:
        wrong_positives = frame[(frame[finding] == 1) & ~frame[f"truth:{finding}"].astype(bool)]
        for image_id in wrong_positives["image_id"]:
            assert place_of(data, image_id, finding) is None


def test_an_example_holds_the_one_pass_map_of_its_finding(data):
    network = build("eeea_net_c2", data.table.findings, image_size=32).eval()
    examples = explain_examples({"it": network}, data, choose_examples(data, 3))
    for example in examples:
        column = data.table.findings.index(example.finding)
        with torch.no_grad():
            logits, shown = maps(network, torch.from_numpy(example.image)[None, None])
        np.testing.assert_allclose(example.maps["it"], shown[0, column], rtol=1e-4, atol=1e-6)
        assert example.logits["it"] == pytest.approx(float(logits[0, column]), rel=1e-4, abs=1e-6)
        assert example.label == 1
