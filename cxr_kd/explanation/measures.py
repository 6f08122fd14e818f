"""The names of the measures of maps and of what networks are compared with. It loads nothing, so that reports can."""

# `localisation` and `placement`; `specific` is from -1 to 1, the others from 0 to 1.
PLACE_MEASURES = ("pointing", "inside", "auprc", "empty", "iou", "iobb", "specific", "moved")
LIKENESS_MEASURES = ("rank", "top", "distance")  # `similarity`
FAITHFUL_MEASURES = ("deletion", "insertion", "road", "randomised_rank", "stable")  # `checks`
DRAIN_MEASURES = (
    "drain_share",
    "drain_area",
    "ideal_drain_share",
    "pneumothorax_share",
    "drain_effect_sd",
)  # `shortcut`
CHOICE_COLUMNS = ("form", "reading", "network", "cells", "pointing", "inside", "auprc", "empty", "chosen")  # `choice`
THRESHOLD_COLUMNS = ("arm", "seed", "threshold", "down_px", "right_px")  # `measure.Measured`
BOUNDED = frozenset({*PLACE_MEASURES, "top"} - {"specific"})  # from 0 to 1

# What is painted in a phantom to see what a drain does (`shortcut`).
PAINTED_OUT = "drain painted out"
PAINTED_IN_ILL, PAINTED_IN_WELL = "drain painted in, pneumothorax", "drain painted in, no pneumothorax"
DRAIN_KINDS = (PAINTED_OUT, PAINTED_IN_ILL, PAINTED_IN_WELL)

RANDOM, CENTRE, MEAN_PLACE, EDGES, UNTRAINED = "random map", "image centre", "mean place", "edges", "random weights"
CONTROLS = (RANDOM, CENTRE, MEAN_PLACE, EDGES, UNTRAINED)  # `controls`
CEILING = "best possible"  # the maps that a grid allows at best, `localisation.ceiling`
