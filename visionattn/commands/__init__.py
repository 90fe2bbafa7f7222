"""What the command line runs: one module per command, each with a function ``run``."""
