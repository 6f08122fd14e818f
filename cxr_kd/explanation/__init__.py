"""Explanation: maps of all findings in one forward pass (`cam`), examples to look at, agreement of two networks."""
