"""The paragraphs of the methods text about data, networks and training."""

from __future__ import annotations

from collections.abc import Mapping

from cxr_kd.models import registry
from cxr_kd.report.citations import Citations, references
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.style import finding_name, style_of
from cxr_kd.report.wording import counted, listed, number, percent
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms
from cxr_kd.study.loss_table import LOSSES, NEEDS_LIVE_TEACHER, TEACHER_LOSSES
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import Training

SPLITS = {
    "official": "the split that its authors publish, with {share} of the training patients used for validation "
    "(seed {seed})",
    "random-70-10-20": "a random split of the patients into 70 % for training, 10 % for validation and 20 % for "
    "testing (seed {seed})",
    "lists": "three lists of images that the study names",
    "medmnist-random-70-10-20": "the random split of images that MedMNIST publishes",
}
LOSS_NAMES = {
    "focal_bce": "focal binary cross-entropy with the labels",
    "focal_bce_balanced": "class-balanced focal binary cross-entropy with the labels",
    "asymmetric": "the asymmetric loss with the labels",
    "bce": "binary cross-entropy with the labels",
    "bce_beyond_source": "binary cross-entropy with the labels beyond the log-odds of the image's source",
    "logit_mse": "the squared error between the student's and the teacher's logits",
    "prob_mse": "the squared error between the student's and the teacher's probabilities",
    "binary_kl": "the binary Kullback-Leibler divergence from the teacher's softened probabilities",
    "l2d": "the multi-label logits distillation loss against the teacher",
    "correlation": "the correlation loss (DIST) against the teacher",
    "hint": "the hint loss on the teacher's features",
    "attention_transfer": "the attention-transfer loss on the teacher's attention",
    "map_cosine": "the cosine distance between the student's and the teacher's evidence maps",
}


def testing(study: Study) -> str:
    """Return which kinds of testing the study has, in the words of CLAIM."""
    return "internal and external testing" if study.evaluate_on else "internal testing"


def data_name(files: StudyFiles) -> str:
    """Return the name of the data set."""
    return str(files.data["source"].get("name", files.data["dataset"]))


def data_text(study: Study, files: StudyFiles, cite: Citations) -> str:
    """Return images, patients, findings, exclusions, preprocessing and split."""
    data, pixels = files.data, f"{study.image_size} x {study.image_size} pixels"
    what = "phantoms, synthetic radiographs drawn by cxr_kd"
    if data["kind"] != "phantom":
        citation = data["source"].get("citation")
        what = f"{data_name(files)} {cite.text(str(citation))}" if citation else data_name(files)
    shape = "padded to a square and reduced" if study.keep_aspect else "resampled by area"
    grey = "by a fixed rule" if study.intensity == "fixed" else "stretched per image"
    labels = " ".join(f"{key[:1].upper()}{key[1:]}: {data['source'][key]}."
                      for key in ("labels", "blank labels", "uncertain labels") if key in data["source"])  # fmt: skip
    return " ".join(filter(None, [
        f"The data are {what}: {counted(data['images'], 'image')} of {counted(data['patients'], 'patient')}, "
        f"labelled for {counted(len(data['findings']), 'finding')} "
        f"({listed([finding_name(f) for f in data['findings']])}).",
        labels, excluded(files),
        f"Images were {shape} to {pixels} of 8 bits (grey values of more bits {grey}).", split_text(study, files),
    ]))  # fmt: skip


def excluded(files: StudyFiles) -> str:
    """Return a sentence about images that are not used: left out by the reader, or not decodable."""
    reasons = [f"{number(count)} ({why})" for why, count in files.data["left_out"].items() if count]
    broken = files.data["quarantined"]
    left_out = f"Left out when reading: {listed(reasons)}." if reasons else "No image or row was left out when reading."
    return (
        f"{left_out} {counted(broken, 'file')} could not be decoded and {'was' if broken == 1 else 'were'} set aside."
    )


def split_text(study: Study, files: StudyFiles) -> str:
    """Return how images were divided, with the counts of each side and the level at which sides are disjoint."""
    split = files.data["split"]
    rule = SPLITS[study.data.split].format(share=percent(study.data.validation_share), seed=study.data.split_seed)
    sides = [
        f"{side} {number(n['images'])} images of {number(n['patients'])} patients" for side, n in split["sides"].items()
    ]
    return f"The images were divided by {rule}: {listed(sides)}. {disjoint(files)}"


def disjoint(files: StudyFiles) -> str:
    """Return the level at which the sides of the split share nothing."""
    if "patients" in files.data["source"]:
        return "The patients of the images are not known, so the sides are disjoint by image only."
    return "No patient is on two sides."


def networks_text(study: Study, files: StudyFiles, cite: Citations) -> str:
    """Return teachers and students with their size and what they started from."""
    told: dict[str, list[str]] = {"teacher": [], "student": []}
    for runs in all_arms(study).values():
        run, card = runs[0], files.cards.get(runs[0].name)
        role = "teacher" if run.role == "teacher" else "student"
        text = f"{registry.info(run.network).title} {_network_citation(study, run, cite)}"
        if card:
            text += f" ({number(int(card['parameters']))} parameters, starting from {card['start']})"
        if text not in told[role]:
            told[role].append(text)
    pretrained = cite("imagenet") if any(run.pretrained for run in study.all_runs) else ""
    images = (
        f" Networks that start from ImageNet weights were pretrained on ImageNet {pretrained}." if pretrained else ""
    )
    return (
        f"Teachers: {listed(told['teacher'])}. Students: {listed(told['student'])}. Every network takes one grey-scale "
        "radiograph and gives one logit per finding, with a sigmoid per finding and no softmax. "
        f"{_pairs(study)}{images}"
    )


def _pairs(study: Study) -> str:
    pairs = [f"{registry.info(run.network).title} from {' and '.join(registry.info(t).title for t in run.teachers)}"
             for run in study.runs_of(study.seeds[0]) if run.teacher]  # fmt: skip
    alone = any(run.role == "student alone" for run in study.all_runs)
    control = " The same student trained alone, on the same budget, is the control." if alone else ""
    several = (
        " The outputs of several teachers were averaged." if any(len(r.teachers) > 1 for r in study.all_runs) else ""
    )
    return (
        f"Distilled: {listed(list(dict.fromkeys(pairs)))}.{several}{control}" if pairs else "No student was distilled."
    )


def _network_citation(study: Study, run: Run, cite: Citations) -> str:
    if study.published_weights(run):
        return cite(run.network, "torchxrayvision") if run.network in references() else cite("torchxrayvision")
    return cite(run.network if run.network in references() else "timm")


def training_text(study: Study, files: StudyFiles, cite: Citations) -> str:
    """Return losses, budgets, augmentation, views, seeds and the choice of the epoch."""
    seeds = (
        f"seeds {listed([str(seed) for seed in study.seeds])}"
        if len(study.seeds) > 1
        else f"one seed ({study.seeds[0]})"
    )
    within = " among images of one source" if files.data["image_sources"] else ""
    return " ".join([
        losses_text(study, cite), budgets_text(study, cite), augmentation_text(study), views_text(study),
        f"Every network was trained with {seeds}; a student and its control share the seed, and with it first weights "
        f"and order of images. The weights of the epoch with the best mean AUROC on the validation side{within} were "
        "kept.",
    ])  # fmt: skip


def losses_text(study: Study, cite: Citations) -> str:
    """Return each objective of the study: its losses with weights and parameters, and who was trained with it."""
    users: dict[str, list[str]] = {}
    for arm, runs in all_arms(study).items():
        if not study.published_weights(runs[0]):
            terms = [_loss(study, name, weight, cite) for name, weight in runs[0].objective.items() if weight]
            users.setdefault(" + ".join(terms), []).append(style_of(arm, runs[0]).label)
    told = [f"{terms} ({', '.join(arms)})" for terms, arms in users.items()]
    return f"The objectives, with the networks that they trained, were: {'; '.join(told)}."


def _loss(study: Study, name: str, weight: float, cite: Citations) -> str:
    settings = [f"{each.replace('_', ' ')} {getattr(study.losses, each):g}" for each in LOSSES[name].settings]
    parameters = f" ({listed(settings)})" if settings else ""
    return f"{weight:g} x {LOSS_NAMES[name]}{parameters}{f' {cite(name)}' if name in references() else ''}"


def budgets_text(study: Study, cite: Citations) -> str:
    """Return the training settings, each with the networks that they trained."""
    groups: dict[str, list[str]] = {}
    for arm, runs in all_arms(study).items():
        weights = study.published_weights(runs[0])
        text = (
            f"published weights, trained on {', '.join(weights.trained_on)}, which were not trained further"
            if weights
            else _budget(study.training_of(runs[0]), cite)
        )
        groups.setdefault(text, []).append(style_of(arm, runs[0]).label)
    if len(groups) == 1:
        return f"All networks were trained for {next(iter(groups))}."
    return " ".join(f"{', '.join(arms)}: {text}." for text, arms in groups.items())


def _budget(training: Training, cite: Citations) -> str:
    extras: Mapping[str, bool] = {
        f"gradients accumulated over {training.accumulate} batches": training.accumulate > 1,
        f"a moving average of the weights with decay {training.ema_decay:g} kept": bool(training.ema_decay),
        f"stopped after {counted(training.patience, 'epoch')} without a better validation AUROC": bool(
            training.patience
        ),
    }
    cited = f" {cite('ema')}" if training.ema_decay else ""
    return ", ".join([
        f"{counted(training.epochs, 'epoch')} of AdamW {cite('adamw')}", f"batch size {training.batch_size}",
        f"learning rate {training.learning_rate:g}", f"weight decay {training.weight_decay:g}",
        f"linear warm-up over {percent(training.warmup_share)} of the steps, then cosine decay to zero "
        f"{cite('cosine')}",
        f"gradients clipped at norm {training.gradient_clip:g}", f"{training.precision} precision",
        *(text for text, used in extras.items() if used),
    ]) + cited  # fmt: skip


def augmentation_text(study: Study) -> str:
    """Return the largest changes of a training view."""
    each = study.augmentation
    return (
        f"Training images were rotated by up to {each.rotate_degrees:g} degrees, moved by up to "
        f"{percent(each.translate)} of the image size, scaled by up to {percent(each.scale)}, and changed in "
        f"brightness by up to {each.brightness:g} and in contrast by up to {percent(each.contrast)}, each drawn "
        "uniformly; they were never flipped."
    )


def views_text(study: Study) -> str:
    """Return how the student saw the images, and where the teacher's answers came from."""
    distilled = [run for run in study.runs_of(study.seeds[0]) if run.teacher]
    if not distilled:
        return "No teacher's answers were used."
    views = listed([str(count) for count in sorted({run.views for run in distilled})])
    live = any(run.losses & NEEDS_LIVE_TEACHER for run in distilled)
    answers = "computed during the training" if live else "computed once and stored in float16"
    used = ", ".join(sorted({name for run in distilled for name in run.losses & TEACHER_LOSSES}))
    return (
        f"Students saw {views} fixed augmented views of each training image in turn. The teacher judged the very same "
        f"pixels; its answers ({used}) were {answers}."
    )
