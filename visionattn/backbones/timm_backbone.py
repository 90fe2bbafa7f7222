"""Any network of timm as a backbone: its maps, its strides and its published weights.

Shapes: B batch, C channels, H W map.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import timm
import torch
from timm.layers import LayerNorm2d
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from visionattn.config.messages import nearest
from visionattn.errors import CheckpointError, ConfigError
from visionattn.weights import Report, open_source

_FIRST, _MAPS = 4, 4
_ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True, "strict_img_size": False}
"""Arguments of timm's networks that let them take images of any size, where a network has them."""
_CLASSIFIERS = ("head.", "fc.", "classifier.", "head_dist.", "last_linear.")


class TimmBackbone(nn.Module):
    """A network of timm, by timm's name, with four maps where it has them.

    A convolutional or hierarchical network gives the last map of each stride from 4 on. A plain vision transformer,
    whose maps all have one stride, gets the simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527): maps
    of a quarter, a half, one and two times its stride from the last map. The published pyramid ends in two convolutions
    for each map, which are left to the head.

    Args:
        model: timm's name, with the tag of its weights or without: ``convnext_tiny.fb_in22k``.
        arguments: further arguments of ``timm.create_model``.
        in_chans: channels of the image.
        drop_path_rate: where the network has it.
        num_classes: 0; a task brings its own head.
        card: facts about the network; ``mean``, ``std`` and ``input_size`` of its images are added.

    Images are padded with zeros at the bottom and the right to whole strides, and the maps cut.

    Raises:
        ConfigError: timm has no such network, an argument does not fit, or the network gives no maps.

    Shape:
        ``(B, in_chans, H, W)`` -> list of ``(B, C, H / stride, W / stride)``, rounded up
    """

    def __init__(
        self,
        model: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        num_classes: int = 0,
        card: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if num_classes:
            raise ConfigError(
                f"backbone=timm gives maps and has no classifier, got num_classes={num_classes}: train one on it "
                f"(visionattn train), or call timm's own by timm.create_model({model!r}, pretrained=True)"
            )
        check_timm_name(model)
        self.net: Any = _network(model, dict(arguments or {}), in_chans, drop_path_rate)
        published = get_pretrained_cfg(model)
        facts: dict[str, Any] = {}
        if published is not None:
            facts = {name: list(getattr(published, name)) for name in ("mean", "std", "input_size")}
        self.card, self.in_chans, self.num_classes = {**facts, **dict(card or {})}, in_chans, 0
        infos: list[dict[str, Any]] = [dict(info) for info in self.net.feature_info]
        strides = [info["reduction"] for info in infos]
        self.stride = int(max(strides))
        self.pyramid: SimplePyramid | None = None
        if len(infos) > 1 and len(set(strides)) == 1:
            self.indices = [len(infos) - 1]
            self.pyramid = SimplePyramid(infos[-1]["num_chs"], strides[-1])
            self.feature_info: list[dict[str, Any]] = self.pyramid.feature_info
        else:
            last = {stride: index for index, stride in enumerate(strides) if stride >= _FIRST}
            self.indices = sorted(last.values())[-_MAPS:] or [len(infos) - 1]
            self.feature_info = [
                {"num_chs": infos[i]["num_chs"], "reduction": strides[i], "module": f"net.{infos[i]['module']}"}
                for i in self.indices
            ]

    def forward_intermediates(self, x: Tensor, norm: bool = False, intermediates_only: bool = False) -> Any:
        """The maps of :attr:`feature_info`.

        Args:
            x: images ``(B, in_chans, H, W)``.
            norm: apply the network's final norm, where it has one that maps can take.
            intermediates_only: return the list alone, without the last map in front of it.

        Raises:
            ConfigError: the network does not take images of this size.
        """
        if torch.compiler.is_compiling():
            maps = self._maps(x, norm)
        else:
            with self._explained(x):
                maps = self._maps(x, norm)
        if self.pyramid is not None:
            maps = self.pyramid(maps[-1])
        maps = [
            one[..., : _ceil(x.shape[-2], info["reduction"]), : _ceil(x.shape[-1], info["reduction"])]
            for one, info in zip(maps, self.feature_info, strict=True)
        ]
        return maps if intermediates_only else (maps[-1], maps)

    def _maps(self, x: Tensor, norm: bool) -> list[Tensor]:
        down, across = (_ceil(edge, self.stride) * self.stride - edge for edge in x.shape[-2:])
        padded = nn.functional.pad(x, (0, across, 0, down))
        maps: list[Tensor] = self.net.forward_intermediates(
            padded, indices=self.indices, norm=norm, intermediates_only=True
        )
        return maps

    @contextmanager
    def _explained(self, x: Tensor) -> Iterator[None]:
        """A network of fixed size says so by an assertion; it names the size here."""
        try:
            yield
        except AssertionError as error:
            raise ConfigError(
                f"timm's {type(self.net).__name__} does not take images of {tuple(x.shape[-2:])} ({error}); "
                "backbone.arguments={img_size: [HEIGHT, WIDTH]} builds it for another size, where it can"
            ) from error

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map."""
        last: Tensor = self.forward_intermediates(x, norm=True)[0]
        return last

    def forward(self, x: Tensor) -> Tensor:
        """The last map."""
        return self.forward_features(x)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, where the network can."""
        self.net.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay must leave alone."""
        declared = getattr(self.net, "no_weight_decay", None)
        return {f"net.{name}" for name in declared()} if declared is not None else set()

    def take_weights(self, state: Mapping[str, Tensor]) -> Report:
        """Load weights under timm's names, or under those of a run of ours.

        Raises:
            CheckpointError: names or shapes do not fit; lists them.
        """
        ours, own = self.state_dict(), any(name.startswith("net.") for name in state)
        renamed = {name if own else f"net.{name}": tensor for name, tensor in state.items()}
        left = [name for name in renamed if name not in ours and name.removeprefix("net.").startswith(_CLASSIFIERS)]
        taken = {name: tensor for name, tensor in renamed.items() if name not in left}
        fresh = [name for name in ours if name not in taken and name.startswith("pyramid.")]
        faults = [f"missing: {name}" for name in ours if name not in taken and name not in fresh]
        faults += [f"not in the network: {name}" for name in taken if name not in ours]
        faults += [
            f"{name} has shape {tuple(tensor.shape)}, the network needs {tuple(ours[name].shape)}"
            for name, tensor in taken.items()
            if name in ours and tensor.shape != ours[name].shape
        ]
        if faults:
            listed = "\n  ".join(faults)
            raise CheckpointError(f"{len(faults)} entries do not fit timm's {type(self.net).__name__}:\n  {listed}")
        self.load_state_dict(taken, strict=False)
        return Report(f"timm's{self._images()}", list(taken), left_out=left, fresh=fresh)

    def _images(self) -> str:
        """What images the published weights were trained on."""
        if "mean" not in self.card:
            return ""
        size = "x".join(map(str, self.card["input_size"][1:]))
        return f", for images of {size} pixels with data.mean={self.card['mean']} data.std={self.card['std']}"


class SimplePyramid(nn.Module):
    """Maps of four strides from the last map of a plain vision transformer (Li et al. 2022, arXiv 2203.16527).

    Args:
        channels: of the map.
        stride: of the map.

    Shape:
        ``(B, C, H, W)`` -> ``(B, C/4, 4H, 4W)``, ``(B, C/2, 2H, 2W)``, ``(B, C, H, W)``, ``(B, C, H/2, W/2)``
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_double(channels, half), LayerNorm2d(half), nn.GELU(), _double(half, quarter)),
                _double(channels, half),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )
        widths, strides = (quarter, half, channels, channels), (stride / 4, stride / 2, stride, 2 * stride)
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": int(s) if s == int(s) else s, "module": f"pyramid.levels.{i}"}
            for i, (width, s) in enumerate(zip(widths, strides, strict=True))
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps."""
        return [level(x) for level in self.levels]


def _ceil(edge: int, stride: float) -> int:
    """How often a stride fits into an edge, rounded up.

    In whole numbers from 0 on: a graph keeps symbols for these alone, and ONNX rounds negative quotients towards 0.
    """
    whole, parts = Fraction(stride).as_integer_ratio()
    return (edge * parts + whole - 1) // whole


def _double(channels: int, out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out, 2, 2)


def check_timm_name(model: str) -> None:
    """Make sure that timm has a network of that name.

    Raises:
        ConfigError: it has none, or not with these weights; names the nearest.
    """
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        raise ConfigError(f"timm has no network {name!r}{nearest(name, timm.list_models())}")
    tagged = timm.list_models(f"{name}.*", pretrained=True) if tag else [model]
    if model not in tagged:
        raise ConfigError(
            f"timm has no weights {tag!r} of {name}{nearest(model, tagged)} (it has {', '.join(tagged) or 'none'})"
        )


def _network(model: str, arguments: dict[str, Any], in_chans: int, drop_path_rate: float) -> Any:
    given: dict[str, Any] = {"in_chans": in_chans, "num_classes": 0, **arguments}
    if drop_path_rate:
        given["drop_path_rate"] = drop_path_rate
    try:
        with torch.device("meta"):
            drawn = timm.create_model(model, **given)
        known = inspect.signature(type(drawn).__init__).parameters
        flexible: dict[str, Any] = {
            key: value for key, value in _ANY_SIZE.items() if key in known and key not in arguments
        }
        network = timm.create_model(model, **given, **flexible)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"timm's {model} does not take {given}: {str(error).splitlines()[0]}") from error
    if not (hasattr(network, "feature_info") and hasattr(network, "forward_intermediates")):
        raise ConfigError(f"timm's {model} gives no maps (it has no forward_intermediates)")
    return network


def timm_backbone(name: str, weights: str | None = None, **arguments: Any) -> TimmBackbone:
    """Build a network of timm as a backbone, with weights if some are named.

    Args:
        name: see :class:`TimmBackbone`.
        weights: ``timm``, what timm publishes under this name; a file or folder; None: a fresh start.
        **arguments: of :class:`TimmBackbone`.
    """
    backbone = TimmBackbone(name, card={"weights": {"timm": name}}, **arguments)
    if weights is not None:
        backbone.take_weights(open_source(weights, backbone.card, 0, backbone.in_chans).state)
    return backbone
