"""Distillation: the losses, their weighted sum, and the outputs of teachers that a student learns from.

`losses` and `map_losses` are the loss functions, `objective` is their weighted sum, and `outputs` holds what a network
returns for a batch. `study.loss_table` lists the losses. `answer_source` finds a run's teacher outputs, which are
computed live or once for all images (`compute_answers`, `stored_answers`).
"""
