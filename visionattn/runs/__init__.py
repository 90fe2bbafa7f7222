"""From a configuration or a checkpoint to a task with its data, and what a run leaves behind."""
