"""Evaluation: from predictions files to the tables of results. No network is loaded here.

`predictions` is the file, `metrics` are AUROC and average precision, `resampling` draws patients, `delong` gives the
standard error of AUROC without resampling, `uncertainty` gives intervals and paired differences, `study_results` and
`ablation` apply them to a study.
"""
