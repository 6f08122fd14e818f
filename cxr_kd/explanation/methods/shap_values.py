"""SHAP values of pixels for chosen findings, by the `shap` package, always with their additivity gap.

SHAP values of an image add up to its logit minus a base. Both explainers here return by how much they miss that, and
print it. `DeepExplainer` is not used: it fails on ordinary networks unless its check is switched off (shap #3938).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.attribution import Attribution, ChosenLogits, gray
from cxr_kd.models.classifier import CxrClassifier

MASKERS = ("blur", "inpaint_telea", "inpaint_ns")


def gradient_shap(
    model: CxrClassifier,
    images: torch.Tensor,
    background: torch.Tensor,
    findings: Sequence[str],
    *,
    samples: int = 100,
    batch_size: int = 16,
    seed: int = 0,
) -> Attribution:
    """Return expected gradients of images (B, 1, S, S) by SHAP's GradientExplainer, per pixel; print the gap.

    The base is the mean logit of `background` (N, 1, S, S), for example training images; a sample is a random point
    between the image and a random background image. The gap is an error of sampling: its standard error falls with
    the square root of `samples`. One sample takes a forward and a backward pass per finding.

    Raises ModelError for an unknown finding, an empty background, or no samples. Source: Erion et al., Nature Machine
    Intelligence 2021, arXiv 1906.10670, equation 3; Lundberg and Lee, NeurIPS 2017.
    """
    if not len(background):
        raise ModelError("the background set is empty: give images that the network's output is compared with")
    if samples < 1:
        raise ModelError(f"gradient_shap needs at least 1 sample, got {samples}")
    logits_of = ChosenLogits(model, findings)
    given, compared = gray(model, images), gray(model, background)
    with torch.no_grad():
        logits = logits_of(given)
        base = torch.cat([logits_of(some) for some in compared.split(batch_size)]).mean(dim=0).expand_as(logits)
    import shap

    with torch.inference_mode(False), torch.enable_grad(), _own_random_state():
        # SHAP runs its background through the network with gradients when it is made: one image, then all of them.
        explainer = shap.GradientExplainer(logits_of, compared[:1].clone(), batch_size=batch_size)
        explainer.explainer.model_inputs = explainer.explainer.data = [compared]
        values = explainer.shap_values(given, nsamples=samples, rseed=seed)  # (B, 1, S, S, F)
    by_finding = torch.from_numpy(np.asarray(values)[:, 0]).permute(0, 3, 1, 2)
    return _printed(Attribution("SHAP, expected gradients", tuple(findings), by_finding, logits.cpu(), base.cpu()))


def partition_shap(
    model: CxrClassifier,
    images: torch.Tensor,
    findings: Sequence[str],
    *,
    masker: str = "blur",
    evaluations: int = 500,
    batch_size: int = 32,
) -> Attribution:
    """Return Owen values of images (B, 1, S, S) by SHAP's PartitionExplainer, spread over pixels; print the gap.

    Halves of the image, halves of these, and so on are hidden, the most important first. The pixels of a rectangle that
    is not divided further share its value evenly. `evaluations`: masked images per image, for all findings together;
    more give finer cells (each doubling of the cells takes about four times as many). `masker`: "blur" hides with a
    mean over a quarter of the image's side, "inpaint_telea" and "inpaint_ns" with OpenCV's inpainting (8 bits). The
    base is the logit of the wholly hidden image. The gap is a rounding error.

    Raises ModelError for an unknown finding or masker, or fewer than 2 evaluations. Source: Lundberg and Lee, NeurIPS
    2017; Owen, 1977.
    """
    if masker not in MASKERS:
        raise ModelError(f"no masker is called {masker!r}; allowed: {', '.join(MASKERS)}")
    if evaluations < 2:
        raise ModelError(f"partition_shap needs at least 2 evaluations, got {evaluations}")
    logits_of = ChosenLogits(model, findings)
    given = gray(model, images)
    with torch.no_grad():
        logits = logits_of(given).cpu()
    kernel = max(model.image_size // 4, 1)
    how = f"blur({kernel},{kernel})" if masker == "blur" else masker
    with _own_random_state():
        values, base = zip(*(_owen(logits_of, image, how, evaluations, batch_size) for image in given), strict=True)
    return _printed(
        Attribution(f"SHAP, partition ({masker})", tuple(findings), torch.stack(values), logits, torch.stack(base))
    )


def _owen(
    logits_of: ChosenLogits, image: torch.Tensor, how: str, evaluations: int, batch_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values (F, S, S) and base (F,) of one image (1, S, S)."""
    import shap

    def logits_of_bytes(pixels: np.ndarray) -> np.ndarray:  # (N, S, S, 1), 0 to 255
        batch = torch.from_numpy(np.ascontiguousarray(pixels[..., 0], np.float32)).unsqueeze(1).to(image.device)
        with torch.no_grad():
            return logits_of(batch.clamp(0, 255) / 255).cpu().numpy()

    pixels = (image * 255).permute(1, 2, 0).cpu().numpy()  # inpainting works on values from 0 to 255
    # A new masker for each image: SHAP's keeps the blurred image under the id of an array that may be gone.
    masker = shap.maskers.Image(how, pixels.shape)
    explainer = shap.PartitionExplainer(logits_of_bytes, masker)
    found: Any = explainer(pixels[None], max_evals=evaluations, batch_size=batch_size, silent=True)
    values = torch.from_numpy(np.asarray(found.values[0], np.float64)).reshape(*pixels.shape[:2], -1)
    base = torch.from_numpy(np.asarray(found.base_values[0], np.float64).reshape(-1))
    return values.permute(2, 0, 1), base


def _printed(attribution: Attribution) -> Attribution:
    print(attribution.gap_text())
    return attribution


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Fix NumPy's global random state, which SHAP draws from, and give it back as it was."""
    before = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(before)
