"""Evaluation: from predictions files to the tables of results. No network is loaded here.

`predictions` is the file, `metrics` are AUROC and average precision, `bootstrap` resamples the patients, `mrmc` adds
the chance of the training, `delong` gives the standard error of AUROC without resampling, `uncertainty` gives intervals
and paired differences, `study_results` and `ablation` apply them to a study. `probability` is about calibration,
operating points and net benefit, `subgroup` about groups of patients, `decision_agreement` about a student and its
teacher.
"""
