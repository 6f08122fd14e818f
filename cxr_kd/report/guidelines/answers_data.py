"""Answers about the data: sources, preparation, reference standard, division, participants."""

from __future__ import annotations

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.guidelines.checklist import Answer
from cxr_kd.report.guidelines.known import STUDY_FILE, Known, found, told
from cxr_kd.report.methods_training import data_name, disjoint, excluded, split_text
from cxr_kd.report.style import finding_name
from cxr_kd.report.wording import counted, listed, number


def data_sources(known: Known) -> Answer:
    """Where the images are from: name, citation, licence; or how they were drawn."""
    data = known.files.data
    size = f"{counted(data['images'], 'image')} of {counted(data['patients'], 'patient')}"
    if known.study.data.phantom:
        drawn = known.study.data.phantom.in_words()
        return found(
            f"Phantoms, drawn by cxr_kd: {size}; {drawn}. They are for development and internal testing.", "data"
        )
    cited = source_lines(known, "citation", "where", "licence")
    text = f"{data_name(known.files)}: {size}, for development and internal testing. {cited}".strip()
    return found(text, "data") if cited else told(known, "setting", more=text, places=("data",))


def source_lines(known: Known, *keys: str) -> str:
    """Return what the data card says of its source under these keys: `Licence: free to use.`"""
    source = known.files.data["source"]
    return " ".join(f"{key[:1].upper()}{key[1:]}: {str(source[key]).rstrip('.')}." for key in keys if source.get(key))


def exclusions(known: Known) -> Answer:
    """Images that this study left out."""
    return found(excluded(known.files), "data")


def subsets(known: Known) -> Answer:
    """Which part of the data set is used."""
    kinds = {
        "full": "The whole published data set is used",
        "mini": "A part of the published data set is used: the images that are in the folder that the study was given",
        "own": "All rows of the table that have an image are used",
        "phantom": "All phantoms that the study file asks for are used",
    }
    findings = known.study.data.findings
    named = "the findings that the study file names" if findings else "all findings of the data set"
    return found(f"{kinds[known.files.data['kind']]}, with {named}. {excluded(known.files)}", "data", STUDY_FILE)


def preprocessing(known: Known) -> Answer:
    """How images become numbers, and which checks they pass."""
    study = known.study
    shape = "padded to a square, then reduced" if study.keep_aspect else "resampled by area"
    grey = "a fixed rule" if study.intensity == "fixed" else "stretching each image"
    return found(
        f"Each image is decoded once, {shape} to {study.image_size} x {study.image_size} pixels of 8 bits (more bits "
        f"by {grey}), scaled to 0 to 1, and normalised by the statistics that belong to the network's weights. "
        f"{counted(known.files.data['quarantined'], 'file')} that could not be decoded were set aside; labels, ages "
        "and sexes are checked when the table is read. Every step is the same for all patients, whatever their group.",
        "data", "methods",
    )  # fmt: skip


def missing_data(known: Known) -> Answer:
    """How unknown labels, ages and sexes are handled."""
    data = known.files.data
    sides, known_labels = data["split"]["sides"], data["known"]
    unknown = sum(n["images"] - known_labels[side][f] for side, n in sides.items() for f in data["findings"])
    total = sum(n["images"] for n in sides.values()) * len(data["findings"])
    sexes = sum(each.get("unknown", 0) for each in data["patients_by_sex"].values())
    return found(
        f"{number(unknown)} of {number(total)} labels are unknown. An unknown label counts neither in a loss nor in a "
        f"measure; nothing is imputed. {source_lines(known, 'blank labels', 'uncertain labels')} The sex of "
        f"{counted(sexes, 'patient')} is not known; they are left out of the comparison of sexes only. "
        f"{excluded(known.files)}",
        "data", "prevalence", "patients",
    )  # fmt: skip


def outcome(known: Known) -> Answer:
    """What is predicted."""
    names = [finding_name(finding) for finding in known.files.data["findings"]]
    return found(
        f"Outcome: for each of {counted(len(names), 'finding')} ({listed(names)}), whether it is on the radiograph. "
        "This is diagnostic: there is no time horizon. The findings are those that the data set has labels for, read "
        "by one rule for all patients.",
        "data", "prevalence",
    )  # fmt: skip


def reference_standard(known: Known) -> Answer:
    """How it was decided which findings an image has."""
    if known.study.data.phantom:
        noise = known.study.data.phantom.label_noise
        text = f"Reference standard: what was drawn, with {noise:.0%} of the positive labels removed and as many false "
        return found(f"{text}ones added, as reports have errors.", "data")
    return told(known, "reference_standard", more=_labels(known), places=("data",), enough=bool(_labels(known)))


def _labels(known: Known) -> str:
    return source_lines(known, "labels")


def reference_rationale(known: Known) -> Answer:
    """Why this reference standard."""
    reason = "What was drawn is known exactly; the errors added make the labels as imperfect as mined ones."
    return found(reason, "data") if known.phantom else told(known, "reference_rationale")


def test_annotation(known: Known) -> Answer:
    """How the test images got their labels."""
    if known.phantom:
        return found("The labels of the test images come from the same drawing rule as those for training.", "data")
    if known.fact("test_annotation"):
        return found(known.fact("test_annotation"), "data")
    return told(known, "reference_standard", more=_labels(known), places=("data",), enough=bool(_labels(known)))


def split(known: Known) -> Answer:
    """How the images were divided."""
    return found(f"{split_text(known.study, known.files)} The validation side chooses epochs and thresholds.", "data")


def disjoint_sides(known: Known) -> Answer:
    """The level at which the sides share nothing."""
    checked = " This is checked when the split is made, and whenever a network is scored."
    return found(f"{disjoint(known.files)}{checked}", "data")


def differences_of_sides(known: Known) -> Answer:
    """How test and training data differ."""
    data = known.files.data
    shares = [(data["prevalence"]["test"][f], data["prevalence"]["train"][f], f) for f in data["findings"]]
    gaps = [(abs(test - train), f) for test, train, f in shares if test is not None and train is not None]
    largest = f" The largest difference in prevalence is {100 * max(gaps)[0]:.1f} percentage points " \
              f"({finding_name(max(gaps)[1])})." if gaps else ""  # fmt: skip
    return found(
        f"Both are from {data_name(known.files)}, with the same findings, reference standard and inputs; they are "
        f"divided by split {data['split']['name']}.{largest} Prevalence, age, sex and view position are given for "
        "each side.",
        "prevalence", "patients",
    )  # fmt: skip


def flow(known: Known) -> Answer:
    """How many images and patients there are at each step."""
    data = known.files.data
    left_out = sum(data["left_out"].values())
    sides = [f"{number(n['images'])} images of {number(n['patients'])} patients for {side}"
             for side, n in data["split"]["sides"].items()]  # fmt: skip
    return found(
        f"{counted(left_out, 'row or file', 'rows or files')} left out when reading, "
        f"{counted(data['quarantined'], 'file')} set aside, {counted(data['images'], 'image')} of "
        f"{counted(data['patients'], 'patient')} used: "
        f"{listed(sides)}.",
        "data",
    )  # fmt: skip


def outcome_counts(known: Known) -> Answer:
    """Images with and without each finding on each side."""
    data = known.files.data
    rows = [
        f"{finding_name(f)} {listed([number(data['positives'][side][f]) for side in data['split']['sides']])}"
        for f in data["findings"]
    ]
    sides = listed(list(data["split"]["sides"]))
    return found(f"Positive images ({sides}): {'; '.join(rows)}. The others are negative or unknown.", "prevalence")


def characteristics(known: Known) -> Answer:
    """Age, sex and view position of each side."""
    data = known.files.data
    told_sides = []
    for side in data["split"]["sides"]:
        age, sexes = data["age"][side], data["patients_by_sex"][side]
        years = f"median age {age['median']:g}" if age and age.get("known") else "age not known"
        told_sides.append(f"{side}: {years}, {', '.join(f'{number(n)} {sex}' for sex, n in sexes.items())}")
    return found(f"{'; '.join(told_sides)}. View positions and images per patient are in the report.", "patients")


def sample_size(known: Known) -> Answer:
    """How many images there are, why, and how precise this makes the result."""
    data, least = known.files.data, known.study.evaluation.minimum_positives
    rare = min(data["positives"]["test"].items(), key=lambda each: each[1])
    origin = "The study file sets the number of phantoms" if known.phantom else "All images that could be read are used"
    text = (
        f"{origin}; the study file states no calculation in advance. The rarest finding on the test side, "
        f"{finding_name(rare[0])}, has {counted(rare[1], 'positive image')}; a finding with fewer than {least} is "
        f"not scored. {_precision(known)}"
    )
    return told(known, "sample_size", more=text, places=("prevalence", "results"), enough=known.scored)


def _precision(known: Known) -> str:
    if not known.scored:
        return "No finding could be scored, so the study is too small."
    means = known.files.evaluations[known.files.evaluations["finding"] == MEAN]
    widest = float(((means["auroc_high"] - means["auroc_low"]) / 2).max())
    return (
        f"Whether this suffices is shown by the intervals: the widest one of a mean AUROC is {widest:.3f} to each side."
    )
