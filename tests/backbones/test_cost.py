"""Counting parameters and multiply-adds, against hand-made numbers."""

import importlib
import pkgutil

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import visionattn
from visionattn import kernels
from visionattn.attention import AggregatedAttention, SelectiveScan
from visionattn.backbones.cost import count_gmacs, count_macs, count_parameters
from visionattn.kernels.clusters import clustered_attention


def test_a_convolution_and_a_linear_layer():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    assert count_parameters(model) == 3 * 8 * 9 + 8 + 8 * 10 + 10
    assert count_gmacs(model, (3, 16, 16)) == pytest.approx((16 * 16 * 3 * 8 * 9 + 80) / 1e9)


class OfImages(nn.Module):
    """A mixer on images, channels first."""

    def __init__(self, mixer):
        super().__init__()
        self.inner = nn.Sequential(mixer)

    def forward(self, x):
        return self.inner(x.permute(0, 2, 3, 1))


def test_attention_counts_the_keys_that_are_seen():
    """Neighborhood attention of kernel 3 on 8 x 8 tokens: 2 * 64 * 9 * C multiply-adds more than the layers around
    it.
    """
    from visionattn.attention import NeighborhoodAttention

    expected = 64 * (16 * 48 + 16 * 16) + 2 * 64 * 9 * 16
    assert count_gmacs(OfImages(NeighborhoodAttention(16, 2, kernel_size=3)), (16, 8, 8)) == pytest.approx(
        expected / 1e9
    )


def test_counting_leaves_the_model_as_it_was():
    model = visionattn.create_backbone("swin_pico").train()
    count_gmacs(model, (3, 32, 32))
    assert model.training
    assert all(param.grad is None for param in model.parameters())
    assert isinstance(next(model.parameters()), torch.Tensor)


def test_products_with_single_neighbors_are_counted_for_every_module_around():
    """A 5 x 4 map of 3 x 3 neighbors has 13 * 10 pairs, of which a product for the logit and one for the value."""
    model = OfImages(AggregatedAttention(16, 2, kernel_size=3, reduction=2))
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model.to("meta")(torch.zeros(1, 16, 5, 4))
    counted = count_macs(model, (16, 5, 4))
    assert counted["inner.0"] == counted["inner"] == counted[""]
    assert counted[""] - counter.get_total_flops() // 2 == 2 * 16 * 13 * 10


def test_a_scan_is_counted_though_it_runs_on_single_numbers():
    one, two = (count_macs(OfImages(SelectiveScan(16, state=states, rank=2)), (16, 6, 7))[""] for states in (1, 2))
    assert one == 42 * 4 * (16 * 4 + 2 * 16) + 42 * 4 * 16 * 9 // 2
    assert two - one == 42 * 4 * (16 * 2 + 16 * 9 // 2)


def test_every_registered_operator_has_a_rule():
    for module in pkgutil.walk_packages(kernels.__path__, f"{kernels.__name__}."):
        importlib.import_module(module.name)
    every = {name.split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("visionattn::")}
    assert len(every) > 20
    assert {str(op).replace(".", "::") for op in flop_registry} >= every


def test_clusters_in_a_graph_count_what_they_count_outside():
    q = torch.randn(1, 36, 2, 8)
    rule = 8, 4, 0.5

    def counted(run):
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    eager = counted(lambda: clustered_attention(q, q, q, cluster_size=8, overlap=4, scale=0.5))
    graph = torch.ops.visionattn.clustered_attention(q, q, q, *rule, "auto")
    assert torch.equal(graph, clustered_attention(q, q, q, cluster_size=8, overlap=4, scale=0.5))
    assert eager == counted(lambda: torch.ops.visionattn.clustered_attention(q, q, q, *rule, "auto")) > 0
    backward = counted(lambda: torch.ops.visionattn.clustered_attention_backward(q, q, q, q, *rule, "auto"))
    assert backward == 2 * eager


class Asks(nn.Module):
    """A learned query for each image, through a module."""

    def __init__(self):
        super().__init__()
        self.query, self.proj = nn.Parameter(torch.zeros(5, 8)), nn.Linear(8, 4)

    def forward(self, image):
        return self.proj(self.query.expand(len(image), -1, -1))


def test_a_parameter_that_is_expanded_is_counted():
    """torch's counter hooks what requires a gradient; such a view of a parameter has no gradient function."""
    assert count_macs(Asks(), (3, 4, 4))[""] == 5 * 8 * 4
