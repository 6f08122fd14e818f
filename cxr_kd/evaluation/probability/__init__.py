"""What the probabilities of a network are worth: calibration, operating points, net benefit and curves.

Start at `tables`: it names every table, with the function that computes it from predictions files. How well a network
ranks images (AUROC) is in `cxr_kd.evaluation.uncertainty`.
"""
