"""The checker of shapes refuses what does not fit, and the package runs without it."""

import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from tests.shapes import annotated, checked_shapes  # noqa: F401
from visionattn.attention import FullAttention, Pooling, WindowAttention, padding
from visionattn.attention.qkv import QKVAttention
from visionattn.heads import ClassificationHead, KeepClasses
from visionattn.heads.segmentation import PixelLoss
from visionattn.kernels import neighborhood_attention, window_attention


class Cropped(nn.Module):
    """Loses the first row of a map."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:]


def test_a_mixer_that_loses_a_row_is_refused():
    mixer = FullAttention(8, 2)
    x = torch.randn(2, 5, 6, 8)
    assert mixer(x).shape == x.shape
    mixer.proj = Cropped()
    with pytest.raises(TypeCheckError, match=r'(?s)"?f32\[2,4,6,8\].*B H W C'):
        mixer(x)


def test_a_map_without_a_batch_is_refused_by_every_mixer():
    for mixer in (Pooling(), WindowAttention(8, 2, window_size=4)):
        with pytest.raises(TypeCheckError, match=r"(?s)f32\[5,6,8\].*B H W C"):
            mixer(torch.randn(5, 6, 8))


@pytest.mark.parametrize(
    ("op", "options"), [(window_attention, {"window": 4}), (neighborhood_attention, {"kernel_size": 3})]
)
def test_an_op_refuses_what_does_not_fit(op, options):
    q, flat, other = torch.randn(1, 5, 6, 2, 4), torch.randn(30, 2, 4), torch.randn(1, 5, 7, 2, 4)
    assert op(q, q, q, **options).shape == q.shape
    with pytest.raises(TypeCheckError, match=r"(?s)f32\[30,2,4\].*B H W N D"):
        op(flat, flat, flat, **options)
    with pytest.raises(TypeCheckError, match=r"(?s)f32\[1,5,7,2,4\].*B H W N E"):
        op(q, q, other, **options)
    with pytest.raises(TypeCheckError, match=r"(?s)f32\[5,5\].*N R S"):
        op(q, q, q, bias=torch.zeros(5, 5), **options)
    with pytest.raises(TypeCheckError, match=r"(?s)f32\[1,5,6,2,4\].*B H W 3 N D"):
        op.packed(q, **options)


def test_functions_and_heads_are_checked():
    with pytest.raises(TypeCheckError, match="N R S"):
        padding.dense_table(torch.zeros(5, 5))
    with pytest.raises(TypeCheckError, match="B K"):
        KeepClasses([0], 3)(torch.zeros(1, 3, 1))
    with pytest.raises(TypeCheckError, match="B H W"):
        PixelLoss()(torch.zeros(1, 3, 2, 2), torch.zeros(2, 2, 2, dtype=torch.long))
    with pytest.raises(TypeCheckError, match="B _ _ _"):
        ClassificationHead([{"num_chs": 4}], 3)([torch.zeros(4, 2, 2)])


def test_the_check_knows_sizes_from_arguments(monkeypatch):
    monkeypatch.setattr(padding.F, "pad", lambda x, amounts: x)
    with pytest.raises(TypeCheckError, match=r"size\[0\]"):
        padding.fit(torch.zeros(1, 2, 2, 4), (3, 3))


def test_compiled_and_exported_code_is_not_checked():
    mixer, x = FullAttention(8, 2), torch.randn(1, 5, 6, 8)
    mixer.proj = Cropped()  # refused where it is checked
    compiled = torch.compile(mixer, backend="eager", fullgraph=True)
    graphs = [torch.export.export(mixer, (x,), strict=strict).module() for strict in (False, True)]
    assert [graph(x).shape for graph in (compiled, *graphs)] == [(1, 4, 6, 8)] * 3


def test_every_mixer_names_its_shapes():
    names = [name for name in sys.modules if name.startswith("visionattn.attention.")]
    found = {(owner, name) for module in names for owner, name, _ in annotated(sys.modules[module])}
    assert (QKVAttention, "forward") in found
    for kind in (owner for name in names for owner in vars(sys.modules[name]).values() if isinstance(owner, type)):
        if kind.__module__ in names and issubclass(kind, nn.Module) and "forward" in vars(kind):
            assert (kind, "forward") in found, kind


def test_the_package_imports_neither_checker():
    code = (
        "import sys, visionattn.kernels, visionattn.attention, visionattn.heads, visionattn.heads.segmentation\n"
        "print(sorted({'jaxtyping', 'beartype'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
