"""Training and evaluation transforms, built by timm, so that its recipes and published scores carry over."""

from __future__ import annotations

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
from visionattn.data.classification.fast_affine import use_fast_affine
from visionattn.data.decode import DecodedImage, as_tensor, decode_fast, decode_rgb
from visionattn.data.image_size import ImageSize, as_size
from visionattn.data.normalize import IMAGENET_MEAN, IMAGENET_STD
from visionattn.data.options import check_shares
from visionattn.errors import ConfigError, did_you_mean

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
_ON_TENSORS = ("nearest", "bilinear", "bicubic")
_CROP_MODES = ("center", "squash", "border")
_COLORS = ("color_jitter", "color_jitter_prob", "auto_augment", "grayscale_prob", "gaussian_blur_prob")
_FIXED = {"input_size", "is_training", "mean", "std", "use_prefetcher", "normalize", "separate", "tf_preprocessing"}


class TrainTransform:
    """An image to a uint8 tensor ``(C, H, W)``, with random augmentation. It is normalized later, on the device.

    Images of other than three channels are tensors; operations on colors are left out for them, see ``notes``.

    Args:
        image_size: one number or (height, width).
        mean: of every channel; their number is that of the channels.
        std: of every channel.
        first: a transform of the image before timm's, for instance torchvision's RandomAffine.
        decoder: ``pillow``; or ``torchvision``, which decodes, crops, resizes and flips tensors, and computes bicubic
            shears and translations by rows. The draws are the same. At each of these steps pixels differ from Pillow's
            by one level at most, where the rounding differs. With ``first``, or another crop than timm's
            RandomResizedCropAndInterpolation, Pillow crops.
        options: further ones of ``timm.data.create_transform``, such as re_count and train_crop_mode.
        scale: range of the area of the crop, as a share of the image.
        ratio: range of the aspect ratio of the crop.
        hflip: probability of a horizontal flip.
        vflip: probability of a vertical flip.
        color_jitter: strength of random brightness, contrast and saturation; None: none.
        auto_augment: a policy in timm's words, e.g. ``rand-m9-mstd0.5-inc1``; None: none.
        interpolation: of the crop: ``bilinear``, ``bicubic``, or ``random``, which draws one of them.
        re_prob: probability of erasing a random rectangle.
        re_mode: what the rectangle is filled with: ``const``, ``rand`` (one color) or ``pixel`` (noise).

    Raises:
        ConfigError: an option that timm does not know, a probability above 1, or an unknown decoder.
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
        self.size, self.channels = as_size(image_size), len(mean)
        self.first = first
        _check_options(options)
        self.options, self.notes = (options, []) if self.channels == 3 else without_colors(options, self.channels)
        options = self.options
        if decoder not in _DECODERS:
            raise ConfigError(f"decoder {decoder!r} is not one of {', '.join(_DECODERS)}")
        self.decode = _DECODERS[decoder]
        composed = create_transform(
            (self.channels, *self.size), is_training=True, mean=tuple(mean), std=tuple(std), normalize=False, **options
        )
        fix_posterize(composed)
        if decoder == "torchvision":
            use_fast_affine(composed)
        self._steps = composed.transforms if first is None else [first, *composed.transforms]
        if decoder == "torchvision" or self.channels != 3:
            self._steps = _on_tensors(self._steps, self.channels)
        self._erasing = _random_erasing(options)

    def __call__(self, image: DecodedImage) -> torch.Tensor:
        for step in self._steps:
            image = step(image)
        assert isinstance(image, torch.Tensor)
        return image

    def erasures(self) -> list[Erasure]:
        """Rectangles to erase from the image of the last call, drawn from the global generators."""
        return draw_erasures(self._erasing, self.size, self.channels)


def without_colors(options: Mapping[str, Any], channels: int) -> tuple[dict[str, Any], list[str]]:
    """Options of timm without the operations that are made for RGB, and a sentence about those."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(create_transform).parameters.items()}
    asked = [name for name in _COLORS if options.get(name, defaults[name])]
    kept = {name: value for name, value in options.items() if name not in _COLORS} | {"color_jitter": None}
    note = f"data.train_transform: {', '.join(asked)} work on RGB and are left out for {channels} channels"
    return kept, [note] if asked else []


def _check_options(options: Mapping[str, Any]) -> None:
    known = [name for name in inspect.signature(create_transform).parameters if name not in _FIXED]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known are {', '.join(sorted(known))}"
            raise ConfigError(f"unknown training transform option {name!r}{hint}")
    chances = {name: value for name, value in options.items() if name.endswith(("flip", "_prob"))}
    check_shares("data.train_transform", **chances)


def _random_erasing(options: Mapping[str, Any]) -> RandomErasing | None:
    """Random erasing of timm, as create_transform builds it into a transform that normalizes."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(create_transform).parameters.items()}
    prob, mode, count = (options.get(name, defaults[name]) for name in ("re_prob", "re_mode", "re_count"))
    splits = options.get("re_num_splits", defaults["re_num_splits"])
    return RandomErasing(prob, mode=mode, max_count=count, num_splits=splits, device="cpu") if prob > 0 else None


def _on_tensors(steps: Sequence[Callable[..., Any]], channels: int = 3) -> list[Callable[..., Any]]:
    """The steps of timm with its crop and flips on tensors, and Pillow images where a later step needs them."""
    if channels != 3 and not (type(steps[0]) is RandomResizedCropAndInterpolation and _TensorCrop.supports(steps[0])):
        return [as_tensor, *steps]
    if not (type(steps[0]) is RandomResizedCropAndInterpolation and _TensorCrop.supports(steps[0])):
        return [_to_pillow, *steps]
    flips, rest = [], list(steps[1:])
    while rest and isinstance(rest[0], (RandomHorizontalFlip, RandomVerticalFlip)):
        flips.append(rest.pop(0))
    convert = [] if all(isinstance(step, MaybePILToTensor) for step in rest) else [_to_pillow]
    return [_TensorCrop(steps[0]), *flips, *convert, *rest]


class _TensorCrop:
    """The random resized crop of timm on uint8 ``(3, H, W)``, with torch's resize, antialiased as Pillow's."""

    _MODES: ClassVar = {InterpolationMode.BILINEAR: "bilinear", InterpolationMode.BICUBIC: "bicubic"}

    def __init__(self, crop: RandomResizedCropAndInterpolation) -> None:
        self._crop = crop

    @classmethod
    def supports(cls, crop: RandomResizedCropAndInterpolation) -> bool:
        return all(mode in cls._MODES for mode in cls._choices(crop))

    @staticmethod
    def _choices(crop: RandomResizedCropAndInterpolation) -> tuple[InterpolationMode, ...]:
        kinds = crop.interpolation
        return tuple(kinds) if isinstance(kinds, (tuple, list)) else (kinds,)

    def __call__(self, image: DecodedImage) -> torch.Tensor:
        pixels = image if isinstance(image, torch.Tensor) else pil_to_tensor(image)
        top, left, height, width = self._crop.get_params(pixels, self._crop.scale, self._crop.ratio)
        choices = self._choices(self._crop)
        mode = random.choice(choices) if len(choices) > 1 else choices[0]  # timm draws only where there is a choice
        crop = pixels[None, :, top : top + height, left : left + width]
        crop = crop.contiguous(memory_format=torch.channels_last)  # Pillow's own layout, and the fast one for torch
        return interpolate(crop, self._crop.size, mode=self._MODES[mode], antialias=True)[0]


def _to_pillow(image: DecodedImage) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


_DECODERS = {"pillow": decode_rgb, "torchvision": decode_fast}


def fix_posterize(transform: Any) -> None:
    """Replace timm's posterize inside a composed transform, in place, by one that accepts 0 bits.

    At full strength timm's automatic augmentations keep 0 bits of each channel, which is black. Pillow 13 refuses 0
    bits, and a worker would fail. The scores of the recipes were measured with black images.
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
    """An image to a uint8 tensor ``(C, H, W)`` without randomness. It is normalized later, on the device.

    Args:
        image_size: one number or (height, width).
        mean: of every channel.
        std: of every channel.
        crop_pct: the image is resized to size / crop_pct (rounded down), then the center is cropped.
        crop_mode: ``center`` resizes the shorter edge; ``squash`` resizes both edges, which changes the aspect ratio;
            ``border`` resizes the longer edge and pads with the mean. These are the choices of timm's validate.py.
        interpolation: of the resizing.
        precropped: the images were cropped when the set was made (ImageNet-C): crop_pct is 1.

    Raises:
        ConfigError: an unknown crop mode or interpolation, or ``crop_pct`` outside (0, 1].
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
        if len(self.mean) != 3 and interpolation not in _ON_TENSORS:
            choices = ", ".join(_ON_TENSORS)
            raise ConfigError(
                f"interpolation {interpolation!r} is for images of three channels; choose one of {choices}"
            )
        self._transform = create_transform(
            (len(self.mean), *self.size),
            is_training=False,
            mean=self.mean,
            std=self.std,
            normalize=False,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            interpolation=interpolation,
        )

    def __call__(self, image: DecodedImage) -> torch.Tensor:
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
