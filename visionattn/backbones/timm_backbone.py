"""Any network of timm as a backbone: its maps, its strides, its pooled vector and its published weights.

Shapes: B batch, C channels, H W map, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from visionattn.backbones.simple_pyramid import SimplePyramid
from visionattn.backbones.timm_network import timm_network
from visionattn.backbones.timm_weights import TimmWeights
from visionattn.errors import ConfigError
from visionattn.kernels.geometry import rounded_up
from visionattn.weights import open_source

_FIRST, _MAPS = 4, 4


class TimmBackbone(TimmWeights):
    """A network of timm, by timm's name, with four maps where it has them.

    A convolutional or hierarchical network gives the last map of each stride from 4 on. A plain vision transformer,
    whose maps all have one stride, gets the simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527): maps
    of a quarter, a half, one and two times its stride from the last map. The published pyramid ends in two convolutions
    for each map, which are left to the head.

    For image classification a task takes what the network itself gives to its classifier (:meth:`serve`): a class
    token, the mean of the tokens, or whatever it was trained with. With ``num_classes`` that classifier is kept, and
    the one map are the logits.

    Args:
        model: timm's name, with the tag of its weights or without: ``convnext_tiny.fb_in22k``.
        arguments: further arguments of ``timm.create_model``.
        in_chans: channels of the image.
        drop_path_rate: where the network has it.
        num_classes: width of the network's own classifier; 0: none, a task brings its head.
        card: facts about the network; ``mean``, ``std`` and ``input_size`` of its images are added.

    Images are padded with zeros at the bottom and the right: for maps, which are cut again, to whole strides; for a
    classifier to whole patches.

    Raises:
        ConfigError: timm has no such network, or an argument does not fit.

    Shape:
        ``(B, in_chans, H, W)`` -> list of ``(B, C, H / stride, W / stride)``, rounded up; with ``num_classes``, and of
        the module itself, ``(B, K)``
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
        dropped = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        sizes = {"in_chans": in_chans, "num_classes": num_classes, **dropped}
        self.net, self._norms = timm_network(model, arguments=arguments or {}, **sizes)
        published = get_pretrained_cfg(model)
        facts: dict[str, Any] = {}
        if published is not None:
            facts = {name: list(getattr(published, name)) for name in ("mean", "std", "input_size")}
        self.card, self.in_chans, self.num_classes = {**facts, **dict(card or {})}, in_chans, num_classes
        self.head: nn.Module = nn.Flatten(1)
        """What makes logits of the one map that a network with its own classifier gives."""
        self.pyramid: SimplePyramid | None = None
        self.indices: list[int] = []
        self.feature_info: list[dict[str, Any]] = []
        self._maps_alone = False
        self._complete = frozenset(f"net.{name}" for name in self.net.state_dict())
        for module in self.net.modules():  # images are padded here; a graph would divide their sizes as floats
            if getattr(module, "dynamic_img_pad", False):
                module.dynamic_img_pad = False
        infos = [dict(info) for info in getattr(self.net, "feature_info", ())]
        self.stride = int(max((info["reduction"] for info in infos), default=1))
        if num_classes:
            self._pool()
        elif infos and hasattr(self.net, "forward_intermediates"):
            self._choose(infos)

    def _choose(self, infos: list[dict[str, Any]]) -> None:
        """The maps that are given."""
        strides = [info["reduction"] for info in infos]
        if len(infos) > 1 and len(set(strides)) == 1:
            self.indices = [len(infos) - 1]
            self.pyramid = SimplePyramid(infos[-1]["num_chs"], strides[-1])
            self.feature_info = self.pyramid.feature_info
        else:
            last = {stride: index for index, stride in enumerate(strides) if stride >= _FIRST}
            self.indices = sorted(last.values())[-_MAPS:] or [len(infos) - 1]
            self.feature_info = [
                {"num_chs": infos[i]["num_chs"], "reduction": strides[i], "module": f"net.{infos[i]['module']}"}
                for i in self.indices
            ]

    def _pool(self) -> None:
        """Give the network's own vector as the only map, of one pixel: its logits, or what they are made of."""
        width = self.num_classes or int(getattr(self.net, "head_hidden_size", None) or self.net.num_features)
        self.pyramid, self.indices = None, []
        self.feature_info = [{"num_chs": width, "reduction": self.stride, "module": "net"}]

    def serve(self, pooled: bool) -> None:
        """Keep what one task needs, so that every parameter is trained.

        Args:
            pooled: whether that is the vector for a classifier; else it is the maps.

        Raises:
            ConfigError: the network gives no maps, or has been made to give maps alone.
        """
        if self.num_classes and not pooled:
            raise ConfigError(f"timm's {self._kind} with its own classifier gives no maps; num_classes=0 leaves it out")
        if pooled and not self._maps_alone:
            self._pool()
        elif pooled:
            raise ConfigError(f"timm's {self._kind} was made to give maps alone; build another one to classify")
        elif not self.indices:
            raise ConfigError(f"timm's {self._kind} gives no maps, and only classifies")
        else:
            self.net.prune_intermediate_layers(self.indices, prune_norm=not self._norms)
            self._maps_alone = True

    def leave_out(self, maps: int) -> None:
        """Freeze what so many of the finest maps alone are made with, for a head that does not take them."""
        for level in self.pyramid.levels[:maps] if self.pyramid is not None else ():
            level.requires_grad_(False)

    def forward_intermediates(self, x: Tensor, norm: bool = False, intermediates_only: bool = False) -> Any:
        """The maps of :attr:`feature_info`.

        Args:
            x: images ``(B, in_chans, H, W)``.
            norm: apply the network's final norm, where it has one that maps can take.
            intermediates_only: return the list alone, without the last map in front of it.

        Raises:
            ConfigError: the network does not take images of this size.
        """
        compute = self._maps if self.indices else self._vector
        if torch.compiler.is_compiling():
            maps = compute(x, norm)
        else:
            with self._explained(x):
                maps = compute(x, norm)
        return maps if intermediates_only else (maps[-1], maps)

    def _vector(self, x: Tensor, norm: bool) -> list[Tensor]:
        patch = getattr(getattr(self.net, "patch_embed", None), "patch_size", (1, 1))
        return [self.net(_padded(x, patch))[..., None, None]]

    def _maps(self, x: Tensor, norm: bool) -> list[Tensor]:
        whole = _padded(x, (self.stride, self.stride))
        maps: list[Tensor] = self.net.forward_intermediates(
            whole, indices=self.indices, norm=norm and self._norms, intermediates_only=True
        )
        if self.pyramid is not None:
            maps = self.pyramid(maps[-1])
        return [
            one[..., : _ceil(x.shape[-2], info["reduction"]), : _ceil(x.shape[-1], info["reduction"])]
            for one, info in zip(maps, self.feature_info, strict=True)
        ]

    @contextmanager
    def _explained(self, x: Tensor) -> Iterator[None]:
        """A network of fixed size says so by an assertion, or by shapes that do not fit; it names the size here."""
        try:
            yield
        except (AssertionError, RuntimeError) as error:
            if type(error) is RuntimeError and not re.search("size|shape", str(error)):
                raise
            hint = "backbone.arguments={img_size: [HEIGHT, WIDTH]} builds it for another size, where it can"
            if not self.net.pretrained_cfg.get("fixed_input_size"):
                hint = f"multiples of {self.stride} fit"
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"timm's {self._kind} does not take images of {tuple(x.shape[-2:])} ({reason}); {hint}"
            ) from error

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map."""
        last: Tensor = self.forward_intermediates(x, norm=True)[0]
        return last

    def forward(self, x: Tensor) -> Tensor:
        """The last map; of a network with its own classifier the logits."""
        last = self.forward_features(x)
        return self.head(last) if self.num_classes else last

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh classifier for another number of classes."""
        if num_classes != self.num_classes:
            self.net.reset_classifier(num_classes)
            self.num_classes = num_classes
            self._pool()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass, where the network can."""
        self.net.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay must leave alone."""
        declared = getattr(self.net, "no_weight_decay", None)
        return {f"net.{name}" for name in declared()} if declared is not None else set()


def _padded(x: Tensor, unit: tuple[int, int]) -> Tensor:
    """Images with zeros at the bottom and the right, up to whole units."""
    down, across = (_ceil(edge, whole) * whole - edge for edge, whole in zip(x.shape[-2:], unit, strict=True))
    return nn.functional.pad(x, (0, across, 0, down))


def _ceil(edge: int, stride: float) -> int:
    """How often a stride, which may be broken, fits into an edge, rounded up."""
    whole, parts = Fraction(stride).as_integer_ratio()
    return rounded_up(edge * parts, whole)


def timm_backbone(name: str, weights: str | None = None, **arguments: Any) -> TimmBackbone:
    """Build a network of timm as a backbone, with weights if some are named.

    Args:
        name: see :class:`TimmBackbone`.
        weights: ``timm``, what timm publishes under this name; a file or folder; None: a fresh start.
        **arguments: of :class:`TimmBackbone`.
    """
    card = {"weights": {"timm": name, "arguments": arguments.get("arguments")}}
    backbone = TimmBackbone(name, card=card, **arguments)
    if weights is not None:
        backbone.take_weights(open_source(weights, backbone.card, 0, backbone.in_chans).state)
    return backbone
