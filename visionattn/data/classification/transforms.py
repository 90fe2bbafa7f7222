"""Training and evaluation transforms, built by timm so that its recipes and published scores carry over."""

import difflib
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment, create_transform
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import MaybePILToTensor, RandomResizedCropAndInterpolation
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode, RandomHorizontalFlip, RandomVerticalFlip
from torchvision.transforms.functional import pil_to_tensor

from visionattn.data.classification.erasing import Erasure, draw_erasures
from visionattn.data.classification.fast_affine import mend_shears
from visionattn.data.decode import DecodedImage, decode_fast, decode_rgb
from visionattn.data.image_size import ImageSize, as_size
from visionattn.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from visionattn.errors import ConfigError

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
_CROP_MODES = ("center", "squash", "border")
_FIXED = {"input_size", "is_training", "mean", "std", "use_prefetcher", "normalize", "separate", "tf_preprocessing"}


class TrainTransform:
    """A picture to an 8-bit tensor (3, H, W), with random augmentation; normalised later, on the device.

    options: timm.data.create_transform's own, by its names: scale, ratio, hflip, vflip, color_jitter, auto_augment
    (e.g. "rand-m9-mstd0.5-inc1"), interpolation ("random" draws bilinear or bicubic), re_prob, re_mode, re_count,
    train_crop_mode and so on. Raises ConfigError for a name that timm does not know.
    first: a transform of the picture before timm's, for instance torchvision's RandomAffine.
    decoder: "pillow"; or "torchvision", which decodes, crops, resizes and flips on tensors, shears and translates by
    rows where that is bicubic: the same draws, pixels that differ from Pillow's by one level at each of these steps
    at most, where its bilinear and bicubic rounding differ. With `first`, or another crop than timm's
    RandomResizedCropAndInterpolation, the crop is Pillow's.
    """

    def __init__(
        self,
        image_size: ImageSize,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        first: Callable[[Image.Image], Image.Image] | None = None,
        decoder: str = "pillow",
        **options: Any,
    ) -> None:
        self.size = as_size(image_size)
        self.first = first
        self.options = options
        _check_options(options)
        if decoder not in _DECODERS:
            raise ConfigError(f"decoder {decoder!r} is not one of {', '.join(_DECODERS)}")
        self.decode = _DECODERS[decoder]
        composed = create_transform(
            (3, *self.size), is_training=True, mean=tuple(mean), std=tuple(std), normalize=False, **options
        )
        mend_posterize(composed)
        if decoder == "torchvision":
            mend_shears(composed)
        self._steps = composed.transforms if first is None else [first, *composed.transforms]
        if decoder == "torchvision":
            self._steps = _on_tensors(self._steps)
        self._erasing = _random_erasing(options)

    def __call__(self, picture: DecodedImage) -> torch.Tensor:
        for step in self._steps:
            picture = step(picture)
        assert isinstance(picture, torch.Tensor)
        return picture

    def erasures(self) -> list[Erasure]:
        """What random erasing does to the picture of the last call; draws from the global generators."""
        return draw_erasures(self._erasing, self.size)


def _check_options(options: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(create_transform).parameters if name not in _FIXED]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
            raise ConfigError(f"unknown training transform option {name!r}{hint}")


def _random_erasing(options: Mapping[str, Any]) -> RandomErasing | None:
    """timm's, as create_transform would have built it into a transform that normalises."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(create_transform).parameters.items()}
    prob, mode, count = (options.get(name, defaults[name]) for name in ("re_prob", "re_mode", "re_count"))
    splits = options.get("re_num_splits", defaults["re_num_splits"])
    return RandomErasing(prob, mode=mode, max_count=count, num_splits=splits, device="cpu") if prob > 0 else None


def _on_tensors(steps: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """timm's steps with its crop and the flips on tensors, and Pillow pictures where a later step wants them."""
    if not (type(steps[0]) is RandomResizedCropAndInterpolation and _TensorCrop.can(steps[0])):
        return [_to_picture, *steps]
    flips, rest = [], list(steps[1:])
    while rest and isinstance(rest[0], (RandomHorizontalFlip, RandomVerticalFlip)):
        flips.append(rest.pop(0))
    picture = [] if all(isinstance(step, MaybePILToTensor) for step in rest) else [_to_picture]
    return [_TensorCrop(steps[0]), *flips, *picture, *rest]


class _TensorCrop:
    """timm's random resized crop on uint8 (3, H, W), with torch's resize, which follows Pillow's antialiasing."""

    _MODES: ClassVar = {InterpolationMode.BILINEAR: "bilinear", InterpolationMode.BICUBIC: "bicubic"}

    def __init__(self, crop: RandomResizedCropAndInterpolation) -> None:
        self._crop = crop

    @classmethod
    def can(cls, crop: RandomResizedCropAndInterpolation) -> bool:
        return all(mode in cls._MODES for mode in cls._choices(crop))

    @staticmethod
    def _choices(crop: RandomResizedCropAndInterpolation) -> tuple[InterpolationMode, ...]:
        kinds = crop.interpolation
        return tuple(kinds) if isinstance(kinds, (tuple, list)) else (kinds,)

    def __call__(self, picture: DecodedImage) -> torch.Tensor:
        pixels = picture if isinstance(picture, torch.Tensor) else pil_to_tensor(picture)
        top, left, height, width = self._crop.get_params(pixels, self._crop.scale, self._crop.ratio)
        choices = self._choices(self._crop)
        mode = random.choice(choices) if len(choices) > 1 else choices[0]  # timm draws only where there is a choice
        part = pixels[None, :, top : top + height, left : left + width]
        part = part.contiguous(memory_format=torch.channels_last)  # Pillow's own layout, and the fast one for torch
        return interpolate(part, self._crop.size, mode=self._MODES[mode], antialias=True)[0]


def _to_picture(picture: DecodedImage) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    return Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))


_DECODERS = {"pillow": decode_rgb, "torchvision": decode_fast}


def mend_posterize(transform: Any) -> None:
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
    """A picture (PIL, RGB) to an 8-bit tensor (3, H, W), the same every time; normalised later, on the device.

    crop_pct: the picture is first resized to size / crop_pct (rounded down), then the centre is cropped.
    crop_mode: "center" resizes the shorter edge; "squash" resizes both edges, changing the aspect ratio; "border"
    resizes the longer edge and pads with the mean. The choices of timm's validate.py, computed by timm.
    precropped: the pictures were cropped when the set was made (ImageNet-C), so all of each is shown: crop_pct is 1.
    """

    def __init__(
        self,
        image_size: ImageSize,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        crop_pct: float = 0.875,
        crop_mode: str = "center",
        interpolation: str = "bicubic",
        precropped: bool = False,
    ) -> None:
        crop_pct = 1.0 if precropped else crop_pct
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
            normalize=False,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            interpolation=interpolation,
        )

    def __call__(self, picture: DecodedImage) -> torch.Tensor:
        return self._transform(picture)

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
