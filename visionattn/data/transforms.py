"""Training and evaluation transforms, built by timm so that its recipes and published scores carry over."""

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from timm.data import auto_augment, create_transform

from visionattn.errors import ConfigError

ImageSize = int | Sequence[int]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
_CROP_MODES = ("center", "squash", "border")
_FIXED = {"input_size", "is_training", "mean", "std", "use_prefetcher", "normalize", "separate", "tf_preprocessing"}


def as_size(image_size: ImageSize) -> tuple[int, int]:
    """(height, width) from one number or two."""
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(int(edge) for edge in image_size)
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"image_size is one number or [height, width], all positive, got {image_size}")
    return size


class TrainTransform:
    """A picture (PIL, RGB) to a normalised float32 tensor (3, H, W), with random augmentation.

    options: timm.data.create_transform's own, by its names: scale, ratio, hflip, vflip, color_jitter, auto_augment
    (e.g. "rand-m9-mstd0.5-inc1"), interpolation ("random" draws bilinear or bicubic), re_prob, re_mode, re_count,
    train_crop_mode and so on. Raises ConfigError for a name that timm does not know.
    first: a transform of the picture before timm's, for instance torchvision's RandomAffine.
    """

    def __init__(
        self,
        image_size: ImageSize,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        first: Callable[[Image.Image], Image.Image] | None = None,
        **options: Any,
    ) -> None:
        self.size = as_size(image_size)
        self.first = first
        self.options = options
        known = [name for name in inspect.signature(create_transform).parameters if name not in _FIXED]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
                raise ConfigError(f"unknown training transform option {name!r}{hint}")
        self._transform = create_transform(
            (3, *self.size), is_training=True, mean=tuple(mean), std=tuple(std), **options
        )
        _mend_posterize(self._transform)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self._transform(image if self.first is None else self.first(image))


def _mend_posterize(transform: Any) -> None:
    """Replaces the posterize step inside a composed transform, in place, where timm's own one can fail.

    At full strength timm's automatic augmentations keep 0 bits of each channel: black. Pillow 13 refuses 0 bits, which
    ends training in a worker; the recipes' scores were made when it gave black, so black it is here.
    """
    for step in transform.transforms:
        groups = [getattr(step, "ops", []), *getattr(step, "policy", [])]
        for op in (op for group in groups for op in group):
            if op.aug_fn is auto_augment.posterize:
                op.aug_fn = _posterize


def _posterize(image: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    return auto_augment.posterize(image, bits_to_keep)


class EvalTransform:
    """A picture (PIL, RGB) to a normalised float32 tensor (3, H, W), the same every time.

    crop_pct: the picture is first resized to size / crop_pct (rounded down), then the centre is cropped.
    crop_mode: "center" resizes the shorter edge; "squash" resizes both edges, changing the aspect ratio; "border"
    resizes the longer edge and pads with the mean. The choices of timm's validate.py, computed by timm.
    """

    def __init__(
        self,
        image_size: ImageSize,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        crop_pct: float = 0.875,
        crop_mode: str = "center",
        interpolation: str = "bicubic",
    ) -> None:
        if interpolation not in _INTERPOLATIONS:
            raise ConfigError(f"interpolation {interpolation!r} is not one of {', '.join(_INTERPOLATIONS)}")
        if crop_mode not in _CROP_MODES:
            raise ConfigError(f"crop_mode {crop_mode!r} is not one of {', '.join(_CROP_MODES)}")
        if not 0.0 < crop_pct <= 1.0:
            raise ConfigError(f"crop_pct must lie above 0 and not above 1, got {crop_pct}")
        self.size = as_size(image_size)
        self.mean, self.std = tuple(mean), tuple(std)
        self.crop_pct, self.crop_mode, self.interpolation = crop_pct, crop_mode, interpolation
        self._transform = create_transform(
            (3, *self.size),
            is_training=False,
            mean=self.mean,
            std=self.std,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            interpolation=interpolation,
        )

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self._transform(image)

    def describe(self) -> dict[str, Any]:
        """The protocol, for the evaluation's result file."""
        return {
            "size": list(self.size),
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }
