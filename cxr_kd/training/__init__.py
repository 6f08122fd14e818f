"""Training: from one run of a study to its finished run folder.

`run.train` is the entry. `job` holds what one training needs, `teacher_answers` finds or computes the answers of its
teachers, `fit` is the loop and `train_step` one optimiser step. `checkpoint` makes it resumable, `predict` computes
logits, `finished_run` and `run_card` say what is done and load it, `distributed` and `sync_batchnorm` spread one
training over processes.
"""
