"""Where a finding is on an image as the networks see it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from cxr_kd.explanation.places import at_size, place_of, places_of


def data(*, size: int, keep_aspect: bool = False, masks=None, boxes=()) -> SimpleNamespace:
    frame = pd.DataFrame(boxes, columns=["image_id", "finding", "x", "y", "width", "height"])
    table = SimpleNamespace(findings=("Effusion", "Mass"), masks=masks, boxes=frame)
    return SimpleNamespace(table=table, cache=SimpleNamespace(manifest={"size": size, "keep_aspect": keep_aspect}))


def test_all_boxes_of_a_finding_are_its_place():
    boxes = [("a", "Mass", 0.0, 0.0, 0.5, 0.25), ("a", "Mass", 0.5, 0.75, 0.5, 0.25), ("b", "Mass", 0, 0, 1, 1)]
    found = place_of(data(size=4, boxes=boxes), "a", "Mass")
    assert found.astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert place_of(data(size=4, boxes=boxes), "a", "Effusion") is None


def test_a_mask_is_padded_like_its_image_if_the_aspect_is_kept():
    mask = np.zeros((8, 4), bool)
    mask[:, 2:] = True  # the right half of a tall image
    padded, stretched = (
        place_of(data(size=4, keep_aspect=keep, masks=lambda image_id: {"Mass": mask}), "a", "Mass")
        for keep in (True, False)
    )
    assert padded.astype(int).tolist() == [[0, 0, 1, 0]] * 4
    assert stretched.astype(int).tolist() == [[0, 0, 1, 1]] * 4
    assert at_size(padded, 4) is padded


def test_a_place_smaller_than_half_a_pixel_is_left_out():
    mask = np.zeros((64, 64), bool)
    mask[0, 0] = True
    assert list(places_of(data(size=4, masks=lambda image_id: {"Mass": mask}), "a")) == []
