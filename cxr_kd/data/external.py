"""The images of a further data set on which a study's networks are tested, with labels in terms of the study's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr_kd.data.prepare import Prepared, decoded, read_and_split
from cxr_kd.data.readers.shared_findings import in_terms_of
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study import Study

OWN_NAMES = "folder"  # a data set whose findings have the names that its user gave them


def prepare_external(
    study: Study, name: str, findings: Sequence[str], *, workers: int | None = None, progress: bool = True
) -> Prepared:
    """Return a data set of the study's `evaluate_on`, with those of `findings` that it shares (`shared_table`).

    `findings` are those of the study's networks. The images have the size and the grey values of the study's own; they
    are decoded once, as in `prepare`.

    Raises:
        DataError: if the data set cannot be read, or shares no finding.
        StudyError: if its folder is not there.
    """
    settings = study.evaluate_on[name].data
    table, split = read_and_split(settings, study.external_root(name), workers=workers, progress=progress)
    own = f"{study.file}: evaluate_on.{name}"
    shared_table(table, study.data.dataset, findings, own)  # before hours of decoding
    prepared = decoded(study, table, split, workers=workers, progress=progress)
    return replace(prepared, table=shared_table(prepared.table, study.data.dataset, findings, own))


def shared_table(table: CxrTable, dataset: str, findings: Sequence[str], where: str) -> CxrTable:
    """Return `table` with the labels that mean one of `findings` of `dataset`, under those names and in that order.

    The meanings are those of `shared_findings`. Findings of two phantom data sets, of one published data set, or of a
    user's own folder have the same meaning if they have the same name. DataError, which begins with `where`, if there
    is no shared finding.
    """
    by_name = table.dataset == dataset or OWN_NAMES in (table.dataset, dataset)
    translated = table if by_name else in_terms_of(table, dataset)
    shared = [finding for finding in findings if finding in translated.findings]
    if not shared:
        how = "Findings of a folder are compared by name. " if OWN_NAMES in (table.dataset, dataset) else ""
        raise DataError(
            f"{where}: {table.dataset} shares no finding with the networks. It has: {', '.join(table.findings)}. "
            f"The networks have: {', '.join(findings)}. {how}Name shared findings in its `findings`, or remove it"
        )
    return translated.with_findings(shared)
