"""One file per family: how the official code and timm name its weights.

A file here with a list ``FORMATS`` is registered by lying here.
"""
