"""Phantoms of another hospital: other images and another mix of views; the defaults draw what they always drew."""

import numpy as np
import pytest

from cxr_kd.phantoms.draw import draw, exam_at
from cxr_kd.study.data_settings import PhantomSettings

OURS = PhantomSettings(images=300, size=32, seed=4, minimum_rate=0.1)


def other(**settings):
    return OURS.model_copy(update=settings)


def test_stated_defaults_draw_the_same_phantoms():
    stated = PhantomSettings(images=300, size=32, seed=4, minimum_rate=0.1, ap_share=44_810 / 112_120, exposure=0.0)
    for index in (0, 17, 120):
        np.testing.assert_array_equal(draw(stated, index).image, draw(OURS, index).image)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.1, 0.0, 0.25), (0.9, 0.75, 1.0), (1.0, 1, 1)])
def test_the_share_of_ap_images_is_as_asked(share, least, most):
    found = np.mean([exam_at(other(ap_share=share), index).view == "AP" for index in range(300)])
    assert least <= found <= most


def test_more_exposure_is_brighter_and_less_contrast_flatter():
    plain, exposed, flat = (
        np.stack([draw(settings, index).image for index in range(5)]).astype(float)
        for settings in (OURS, other(exposure=0.15), other(film_contrast=0.6))
    )
    assert (exposed.mean(axis=(1, 2)) > plain.mean(axis=(1, 2))).all()
    assert (flat.std(axis=(1, 2)) < plain.std(axis=(1, 2))).all()


def test_the_report_says_how_they_differ():
    words = other(ap_share=0.8, exposure=-0.1, film_contrast=0.9).in_words()
    assert words == OURS.in_words() + "; 80% AP images; exposure -0.1; contrast of the image times 0.9"
