"""The names of the measures of maps and of what networks are compared with. It loads nothing, so that reports can."""

PLACE_MEASURES = ("pointing", "inside", "auprc", "empty", "iou", "iobb")  # `localisation`
LIKENESS_MEASURES = ("rank", "top", "distance")  # `similarity`
BOUNDED = frozenset({*PLACE_MEASURES, "top"})  # from 0 to 1

RANDOM, CENTRE, MEAN_PLACE, EDGES, UNTRAINED = "random map", "image centre", "mean place", "edges", "random weights"
CONTROLS = (RANDOM, CENTRE, MEAN_PLACE, EDGES, UNTRAINED)  # `controls`
CEILING = "best possible"  # the maps that a grid allows at best, `localisation.ceiling`
