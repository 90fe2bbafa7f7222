"""What blocks launch on a CUDA device under bfloat16 autocast, counted on fake tensors, so that no device is needed."""

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from visionattn.attention import WindowAttention
from visionattn.backbones.block import Block
from visionattn.backbones.families.davit import ConvPosition
from visionattn.backbones.families.maxvit import MBConv

pytest.importorskip("triton", reason="the package triton is not installed")
NO_LAUNCH = {"view", "_unsafe_view", "permute", "transpose", "t", "select", "unsqueeze", "expand", "split", "detach"}
NO_LAUNCH |= {"device", "promote_types", "unbind", "slice", "empty", "new_empty", "alias"}


class Counting(TorchDispatchMode):
    """Counts operators that are more than a view."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.launched += Counter() if name in NO_LAUNCH else Counter({name: 1})
        return func(*args, **(kwargs or {}))


@pytest.fixture
def autocast() -> Iterator[None]:
    """``torch.autocast`` refuses CUDA where there is none."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", before[0])
    torch.set_autocast_dtype("cuda", before[1])
    torch.clear_autocast_cache()


def launched(module: nn.Module, *shape: int, dtype: torch.dtype = torch.float32) -> Counter[str]:
    """Operator to how often a call in training launches it."""
    with FakeTensorMode(), torch.device("cuda"):
        for part in module.modules():
            for name, parameter in part._parameters.items():
                part._parameters[name] = None if parameter is None else nn.Parameter(torch.empty(parameter.shape))
            for name, buffer in part._buffers.items():
                part._buffers[name] = None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype)
        with Counting() as counting:
            module(torch.empty(*shape, dtype=dtype, requires_grad=True))
    return counting.launched


@pytest.mark.usefixtures("autocast")
def test_a_position_encoding_is_one_launch_and_casts_nothing():
    assert launched(ConvPosition(32), 2, 14, 14, 32) == {"depthwise": 1}


@pytest.mark.usefixtures("autocast")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_bottleneck_copies_no_map(stride):
    found = launched(MBConv(32, 32, stride=stride), 2, 14, 14, 32, dtype=torch.bfloat16)
    assert (found["depthwise"], found["convolution"]) == (1, 4), (
        "one depthwise convolution, two pointwise, two of a gate"
    )
    assert not {"constant_pad_nd", "copy_"} & set(found), found
    assert found["clone"] <= 1, "the means of the gate before its SiLU"


@pytest.mark.usefixtures("autocast")
def test_a_block_with_windows_copies_no_map():
    found = launched(Block(32, WindowAttention(32, 2, 1)), 2, 14, 14, 32)
    assert not {"clone", "roll", "constant_pad_nd", "index", "copy_"} & set(found), found
    casts = 4 * 2 + 4  # weight and bias of four linear layers, and the inputs of two of them and of two norms
    assert found["_to_copy"] <= casts, found
