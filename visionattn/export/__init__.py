"""The formats that ``visionattn export`` writes."""
