"""Readers of box formats other than COCO: each gives COCO form in memory, which is checked and served as such."""
