"""A study: from its YAML file to its runs, and to the steps that produce its report."""

from cxr_kd.study.load import find_study, load_study
from cxr_kd.study.study import Study

__all__ = ["Study", "find_study", "load_study"]
