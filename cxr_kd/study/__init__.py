"""A study, from its YAML file to its runs and the steps that produce its report."""

from cxr_kd.study.study import Study, find_study, load_study

__all__ = ["Study", "find_study", "load_study"]
