"""The paragraphs of the methods text about statistics, probabilities, explanations and the device."""

from __future__ import annotations

from cxr_kd.evaluation.details import MOST_RESAMPLES
from cxr_kd.evaluation.probability.calibration import BINS
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.report.citations import Citations
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.wording import counted, listed, number
from cxr_kd.study import Study


def statistics_text(study: Study, files: StudyFiles, cite: Citations) -> dict[str, str]:
    """Return topic -> paragraph."""
    return {
        "Statistics": " ".join([measures_text(study), intervals_text(study, cite), tests_text(study, cite)]),
        "Probabilities and groups": probabilities_text(study, cite),
        "Explanations": explanations_text(study, cite),
        "Device": device_text(study, files, cite),
    }


def measures_text(study: Study) -> str:
    """Return what was measured, and which findings are left out."""
    external = ""
    if study.evaluate_on:
        names = listed(list(study.evaluate_on))
        external = f" The same networks were tested on {names} over the shared findings (external testing)."
    return (
        "Discrimination was measured on the test side by the AUROC and the average precision of each finding and their "
        f"mean over findings. A finding with fewer than {study.evaluation.minimum_positives} positive or negative test "
        f"images was left out of the mean.{external}"
    )


def intervals_text(study: Study, cite: Citations) -> str:
    """Return how intervals were computed: over patients, and with several seeds over trainings too."""
    text = (
        f"Intervals of 95 % are from {number(study.evaluation.resamples)} bootstrap resamples of whole patients "
        f"{cite('bootstrap')}; DeLong's interval for several images per patient {cite('delong', 'obuchowski')} is "
        "given beside them."
    )
    if len(study.seeds) == 1:
        return f"{text} With one training of each network they cover other patients, not other trainings."
    return (
        f"{text} The {len(study.seeds)} trainings of a network were treated as the readers of a multi-reader study, "
        f"with the variance of Obuchowski and Rockette {cite('obuchowski_rockette')} and the width of "
        f"Banerjee {cite('banerjee')}, so intervals cover other patients and other trainings."
    )


def tests_text(study: Study, cite: Citations) -> str:
    """Return how differences were tested, and with which margin, if any."""
    if len(study.seeds) == 1:
        tested = "Differences are paired on the same resamples. With one training no difference was tested."
    else:
        tested = (
            "Differences are paired by seed and on the same resamples; their two-sided p-values were corrected by "
            f"Holm's method {cite('holm')} over findings, and over comparisons for means. A difference counts as "
            f"shown below p = {ALPHA:g}."
        )
    margin = study.evaluation.non_inferiority_margin
    if margin is None:
        return f"{tested} No non-inferiority margin was stated, so non-inferiority was not tested."
    return (
        f"{tested} A student counts as not inferior to its teacher if the 95 % interval of their difference in AUROC "
        f"is above -{margin:g} {cite('non_inferiority')}."
    )


def probabilities_text(study: Study, cite: Citations) -> str:
    """Return how probabilities, thresholds and groups were evaluated."""
    few = min(study.evaluation.resamples, MOST_RESAMPLES)
    return (
        "Calibration was measured on the test side by intercept, slope, observed over expected, Brier score and the "
        f"calibration error in {BINS} bins {cite('calibration')}, of the raw scores and after temperature scaling "
        f"{cite('temperature')}, Platt scaling {cite('platt')} and prevalence correction, all fitted on the validation "
        f"side. Thresholds were chosen on the validation side: Youden's index {cite('youden')}, a sensitivity of 90 "
        f"% and a specificity of 90 %. Net benefit is that of decision curves {cite('net_benefit')}. Networks were "
        f"compared between groups by sex, age, view position and number of findings, with {number(few)} resamples."
    )


def explanations_text(study: Study, cite: Citations) -> str:
    """Return what the maps are, how images were chosen, and how maps were measured."""
    forms = (study.explanation.form,) if study.explanation.form else study.explanation.forms
    grid = f"in the form ({', '.join(forms)}) that was chosen on validation images"
    grid = "on the network's own grid" if forms == ("plain",) else grid if len(forms) > 1 else f"in the form {forms[0]}"
    return (
        f"Maps are Grad-CAM {cite('gradcam')} at the last feature map, in logits, {grid}. At most "
        f"{counted(study.explanation.images, 'positive test image')} were chosen at random, marked ones first, without "
        "looking at any network. Where findings are marked, maps were compared with the marks of at most "
        f"{number(study.explanation.marked_images)} test images: the pointing game, the share of the evidence inside "
        "the finding, intersection over union at a threshold chosen on validation images, and the average precision "
        "of the pixels, beside five controls that do not know the image's findings. Students' and teachers' maps were "
        "compared by rank correlation, overlap of the top 10 % and distance of their centres of mass."
    )


def device_text(study: Study, files: StudyFiles, cite: Citations) -> str:
    """Return how latency was measured, and on which processor."""
    processors = sorted({str(cpu) for cpu in files.cost["cpu"]})
    threads = sorted({int(count) for count in files.cost["threads"]})
    runtimes = listed(list(dict.fromkeys(files.exported["runtime"])))
    text = (
        f"Latency of one image at {study.image_size} pixels in float32 was measured on {listed(processors)} with "
        f"{listed([counted(count, 'thread') for count in threads])}, in {study.device.latency_repeats} rounds that "
        "time every network once; ratios are taken within rounds. The first seed of each network was exported to ONNX, "
        f"with its preprocessing, calibration and maps in the file, run with {runtimes}, and compared with the network "
        f"on all {int(files.exported['images'].iloc[0]):,} test images. {_familiar_text(files, cite)}"
    )
    if files.smaller.empty:
        return text
    device = study.device
    return text + (
        " For students, smaller files were scored on validation images: weights stored in 16 or 8 bits"
        f"{' and 8-bit arithmetic' if device.int8 else ''}. One that lost more than {device.auroc_loss:g} of the mean "
        f"AUROC or {device.finding_loss:g} of any finding's, or whose maps had a mean cosine below "
        f"{device.map_cosine:g} to those in float32, was refused; of the others, the fastest was chosen if it was "
        "faster than float32 by a tenth, else the smallest."
    )


def _familiar_text(files: StudyFiles, cite: Citations) -> str:
    if files.familiar.empty:
        return "There were too few images to fit a detector of images that are no such radiographs."
    first = files.familiar.iloc[0]
    return (
        "Exported files refuse an image whose Mahalanobis distance from the training images (probabilistic principal "
        f"components {cite('ppca')} of 8 x 8 area means, standardised within the image, with its mean and contrast) "
        f"exceeds a limit that was chosen on {int(first['validation_images']):,} validation images; of "
        f"{int(first['n']):,} test images {int(first['refused']):,} were refused."
    )
