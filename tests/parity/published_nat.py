"""NAT, DiNAT and DiNAT_s written once more from the papers, slowly and on the published parameter names.

For the sizes of which no outputs were recorded. It shares no code with the package: every query gathers its own keys.

Shapes: B batch, H W map, C channels, N heads, D head width, K keys along an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.recorded import drawn


@dataclass(frozen=True)
class Published:
    """A network as the paper's table prints it; ``like_swin`` is DiNAT_s."""

    dims: Sequence[int]
    depths: Sequence[int]
    heads: Sequence[int]
    dilations: Sequence[Sequence[int]]
    ratio: int
    kernel: int = 7
    layer_scale: bool = False
    like_swin: bool = False

    def narrow(self) -> Published:
        """The same with one head in the first stage, for quick comparisons."""
        return replace(
            self, dims=[dim // self.heads[0] for dim in self.dims], heads=[n // self.heads[0] for n in self.heads]
        )

    def overrides(self) -> list[str]:
        """What makes our model of the published size this one."""
        return [
            f"{key}={list(row)}"
            for key, row in (("dims", self.dims), ("depths", self.depths), ("num_heads", self.heads))
        ]

    @property
    def level(self) -> str:
        return "layers" if self.like_swin else "levels"

    def shapes(self) -> dict[str, list[int]]:
        """Name -> shape of the published state dict."""
        dims, shapes = self.dims, {}
        if self.like_swin:
            shapes |= weight_and_bias("patch_embed.proj", [dims[0], 3, 4, 4])
        else:
            shapes |= weight_and_bias("patch_embed.proj.0", [dims[0] // 2, 3, 3, 3])
            shapes |= weight_and_bias("patch_embed.proj.1", [dims[0], dims[0] // 2, 3, 3])
        shapes |= weight_and_bias("patch_embed.norm", [dims[0]])
        for s, dim in enumerate(dims):
            for b in range(self.depths[s]):
                shapes |= self._block(f"{self.level}.{s}.blocks.{b}", dim, self.heads[s])
            if s + 1 < len(dims):
                down, merged = f"{self.level}.{s}.downsample", [2 * dim, 4 * dim]
                shapes[f"{down}.reduction.weight"] = merged if self.like_swin else [2 * dim, dim, 3, 3]
                shapes |= weight_and_bias(f"{down}.norm", [4 * dim if self.like_swin else 2 * dim])
        return shapes | weight_and_bias("norm", [dims[-1]]) | weight_and_bias("head", [1000, dims[-1]])

    def _block(self, at: str, dim: int, heads: int) -> dict[str, list[int]]:
        shapes = {f"{at}.attn.rpb": [heads, 2 * self.kernel - 1, 2 * self.kernel - 1]}
        shapes |= weight_and_bias(f"{at}.norm1", [dim]) | weight_and_bias(f"{at}.norm2", [dim])
        shapes |= weight_and_bias(f"{at}.attn.qkv", [3 * dim, dim]) | weight_and_bias(f"{at}.attn.proj", [dim, dim])
        shapes |= weight_and_bias(f"{at}.mlp.fc1", [self.ratio * dim, dim])
        shapes |= weight_and_bias(f"{at}.mlp.fc2", [dim, self.ratio * dim])
        return shapes | ({f"{at}.gamma1": [dim], f"{at}.gamma2": [dim]} if self.layer_scale else {})

    def state(self) -> dict[str, Tensor]:
        """Random weights under the published names."""
        return {name: drawn(name, shape) for name, shape in self.shapes().items()}

    def logits(self, state: dict[str, Tensor], image: Tensor) -> Tensor:
        """What the published network computes, in float64."""
        w = {name: tensor.double() for name, tensor in state.items()}
        x = self._stem(w, image.double())
        for s in range(len(self.dims)):
            for b in range(self.depths[s]):
                x = self._apply_block(w, f"{self.level}.{s}.blocks.{b}", x, self.heads[s], self.dilations[s][b])
            if s + 1 < len(self.dims):
                x = self._downsample(w, f"{self.level}.{s}.downsample", x)
        return linear(w, "head", norm(w, "norm", x).mean((1, 2)))

    def _stem(self, w: dict[str, Tensor], image: Tensor) -> Tensor:
        if self.like_swin:
            x = F.conv2d(image, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=4)
        else:
            x = image
            for i in range(2):
                kernel, bias = w[f"patch_embed.proj.{i}.weight"], w[f"patch_embed.proj.{i}.bias"]
                x = F.conv2d(x, kernel, bias, stride=2, padding=1)
        return norm(w, "patch_embed.norm", x.permute(0, 2, 3, 1))

    def _downsample(self, w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
        if not self.like_swin:
            x = F.conv2d(x.permute(0, 3, 1, 2), w[f"{at}.reduction.weight"], stride=2, padding=1)
            return norm(w, f"{at}.norm", x.permute(0, 2, 3, 1))
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        return norm(w, f"{at}.norm", x) @ w[f"{at}.reduction.weight"].t()

    def _apply_block(self, w: dict[str, Tensor], at: str, x: Tensor, heads: int, dilation: int) -> Tensor:
        mixed = self._attend(w, at, norm(w, f"{at}.norm1", x), heads, dilation)
        x = x + mixed * w.get(f"{at}.gamma1", 1)
        hidden = F.gelu(linear(w, f"{at}.mlp.fc1", norm(w, f"{at}.norm2", x)))
        return x + linear(w, f"{at}.mlp.fc2", hidden) * w.get(f"{at}.gamma2", 1)

    def _attend(self, w: dict[str, Tensor], at: str, x: Tensor, heads: int, dilation: int) -> Tensor:
        height, width, reach = x.shape[1], x.shape[2], self.kernel * dilation
        x = F.pad(x, (0, 0, 0, max(reach - width, 0), 0, max(reach - height, 0)))
        b, h, wide, c = x.shape
        q, k, v = linear(w, f"{at}.attn.qkv", x).view(b, h, wide, 3, heads, c // heads).permute(3, 0, 1, 2, 4, 5)
        rows, row_offsets = neighbors(h, self.kernel, dilation)
        cols, col_offsets = neighbors(wide, self.kernel, dilation)
        rpb, out = w[f"{at}.attn.rpb"], torch.empty_like(q)
        for i in range(h):
            keys, values = (t[:, rows[i]][:, :, cols] for t in (k, v))  # (B, K, W, K, N, D)
            logits = torch.einsum("bwnd,bywxnd->bwnyx", q[:, i], keys) * (c // heads) ** -0.5
            logits = logits + rpb[:, row_offsets[i][None, :, None], col_offsets[:, None, :]].transpose(0, 1)
            weights = logits.flatten(-2).softmax(-1).view_as(logits)
            out[:, i] = torch.einsum("bwnyx,bywxnd->bwnd", weights, values)
        return linear(w, f"{at}.attn.proj", out.flatten(-2))[:, :height, :width]


def neighbors(length: int, kernel: int, dilation: int) -> tuple[Tensor, Tensor]:
    """Along one axis, for each query: the places of its keys ``(L, K)``, and the rows of the table they use."""
    places, offsets = [], []
    for i in range(length):
        group, place = i % dilation, i // dilation
        group_length = (length - group + dilation - 1) // dilation
        start = min(max(place - kernel // 2, 0), group_length - kernel)
        places.append([group + dilation * (start + j) for j in range(kernel)])
        offsets.append([start + j - place + kernel - 1 for j in range(kernel)])
    return torch.tensor(places), torch.tensor(offsets)


def weight_and_bias(name: str, shape: list[int]) -> dict[str, list[int]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def linear(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].t() + w[f"{name}.bias"]
