"""Images and plots of runs and data sets; this package imports nothing of visionattn."""
