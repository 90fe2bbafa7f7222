"""Backend ``tiled``: halo tiles into one batched dense attention, in plain torch."""
