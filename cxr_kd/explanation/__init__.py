"""Explanation: where networks look. `methods` makes maps, `measure` measures those of a study; examples to look at."""
