"""From a command line to jobs in processes."""
