"""Hydra's loader, for commands, sweeps and processes alike, that takes other spellings of overrides."""

from __future__ import annotations

from hydra.types import RunMode
from omegaconf import DictConfig

from visionattn.config.loader import RecipeLoader
from visionattn.config.spelling import for_every_stage, ours, with_every_stage, without_every_stage


class SpellingLoader(RecipeLoader):
    """A loader that rewrites the overrides of every composition; see :mod:`visionattn.config.spelling`."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose, as Hydra does."""

        def load(words: list[str]) -> DictConfig:
            return super(SpellingLoader, self).load_configuration(
                config_name, words, run_mode, from_shell, validate_sweep_overrides
            )

        words = ours(overrides)
        if for_every_stage(words):
            words = with_every_stage(words, load(without_every_stage(words)).hydra.runtime.choices)
        return load(words)
