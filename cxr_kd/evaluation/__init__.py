"""Evaluation: from predictions files to the tables of results. No network is loaded here.

`predictions` is the file, `metrics` are AUROC and average precision, `resampling` draws patients, `uncertainty` gives
intervals and paired differences, `study_results` and `ablation` apply them to a study. `subgroups` compares groups of
patients, `decision_agreement` a student with its teacher.
"""
