"""Ways to make maps. Start with `cam` (all findings in one forward pass) and `grids` (finer cells, by name)."""
