"""Benchmarks: kernels, backbones, heads, loaders and the training step beside other libraries, in one run each."""
