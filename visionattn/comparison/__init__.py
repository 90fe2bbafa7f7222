"""Comparisons: several configurations trained alike over several seeds, and what can be told of their differences."""
