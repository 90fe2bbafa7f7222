"""The backends, one file or folder each; ``order`` has the ordered lists."""
