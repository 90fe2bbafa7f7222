"""Classifiers that pool by attention: the published formulas and sizes, on any backbone, and timm's contract."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import visionattn
from visionattn.backbones import AggregationHead, EfficientProbingHead
from visionattn.config import DEFAULT_POLICY, compose
from visionattn.training.parameter_groups import parameter_groups


def excited(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for param in module.parameters():
            param.copy_(0.3 * torch.randn_like(param))
    return module.double().eval()


def count(module):
    return sum(param.numel() for param in module.parameters())


def picture():
    return torch.randn(2, 16, 3, 5, dtype=torch.float64)


def test_efficient_probing_is_the_published_formula():
    head = excited(EfficientProbingHead(16, 7, num_queries=4, reduction=2))
    head.pool.norm.running_mean.normal_()
    head.pool.norm.running_var.uniform_(0.5, 2)
    x = picture()
    rows = []
    for one in x:
        tokens = one.flatten(1).T
        parts = []
        for m in range(4):
            weights = (tokens @ head.pool.queries[m] / 4).softmax(0)  # the square root of 16 channels
            parts.append(weights @ (tokens @ head.pool.values.weight[2 * m : 2 * m + 2].T))
        pooled = torch.cat(parts)
        pooled = (pooled - head.pool.norm.running_mean) / (head.pool.norm.running_var + 1e-6).sqrt()
        rows.append(head.fc.weight @ pooled + head.fc.bias)
    torch.testing.assert_close(head(x), torch.stack(rows))


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_attention_aggregation_is_the_published_formula(per_class, num_heads):
    head = excited(AggregationHead(16, 7, num_heads=num_heads, per_class=per_class))
    pool, x = head.pool, picture()
    norm = lambda x, layer: F.layer_norm(x, (16,), layer.weight, layer.bias, 1e-6)  # noqa: E731
    rows = []
    for one in x:
        tokens, queries = one.flatten(1).T, pool.queries
        seen = tokens if per_class else torch.cat([queries, tokens])
        attended = torch.empty_like(queries)
        for part in torch.arange(16).chunk(num_heads):
            q, k, v = (
                norm(rows_in, pool.norm1) @ layer.weight[part].T + layer.bias[part]
                for rows_in, layer in ((queries, pool.q), (seen, pool.k), (seen, pool.v))
            )
            attended[:, part] = (q @ k.T / len(part) ** 0.5).softmax(-1) @ v
        queries = queries + pool.scale1.gamma * pool.proj(attended)
        hidden = F.gelu(pool.ffn.fc1(norm(queries, pool.norm2)))
        queries = norm(queries + pool.scale2.gamma * pool.ffn.fc2(hidden), pool.norm)
        rows.append((queries * head.fc.weight).sum(-1) + head.fc.bias)
    torch.testing.assert_close(head(x), torch.stack(rows))


def test_the_sizes_are_the_published_ones():
    assert count(EfficientProbingHead(768, 1000)) == 32 * 768 + 768 * 768 + 768 * 1000 + 1000
    assert count(EfficientProbingHead(768, 1000, num_queries=16, reduction=4)) == 16 * 768 + 768 * 192 + 193 * 1000
    one, many = count(AggregationHead(384, 1000)), count(AggregationHead(384, 1000, per_class=True))
    assert many - one == 999 * 384  # 25.615 M of S60_multi and 25.231 M of S60 differ by that
    block = 384 + 4 * (384 * 384 + 384) + 2 * 384 * 1152 + 1152 + 384 + 3 * 768 + 2 * 384
    assert one == block + 385 * 1000


@pytest.mark.parametrize("name", ["efficient_probing", "attention_aggregation"])
def test_any_backbone_and_the_head_of_a_task_take_it(name):
    cfg = compose("train", ["backbone=dinat_pico", f"+classifier@backbone={name}", "head=own", "data.num_classes=3"])
    model = DEFAULT_POLICY.instantiate(cfg.backbone, num_classes=3).eval()
    x = torch.randn(2, 3, 64, 96)
    assert model(x).shape == (2, 3)
    head = DEFAULT_POLICY.instantiate(cfg.head)(feature_info=model.feature_info, num_classes=3).eval()
    assert head([model.forward_features(x)]).shape == (2, 3)
    assert type(head.classifier) is type(model.head)
    kept = {id(head.classifier.pool.queries)}
    decayed = {
        id(p)
        for group in parameter_groups(model, head, weight_decay=0.1)
        if group["weight_decay"]
        for p in group["params"]
    }
    assert not kept & decayed
    plain = visionattn.create_backbone("dinat_pico", num_classes=0)
    model.head = nn.Identity()  # as in a task, whose head has the classifier
    visionattn.load_weights(model, plain.state_dict())


@pytest.mark.parametrize(
    "head", [EfficientProbingHead(32, 5), AggregationHead(32, 5), AggregationHead(32, 5, per_class=True)]
)
def test_it_keeps_what_a_backbone_asks_of_a_classifier(head):
    x = torch.randn(2, 32, 3, 4)
    pool = head.pool
    head.reset(7)
    assert head(x).shape == (2, 7)
    assert (head.pool is pool) != head.pools_per_class
    assert head(x, pre_logits=True).shape[-1] == head.num_features == 32
    head.reset(0)
    assert isinstance(head.fc, nn.Identity)
    assert head(x).shape == (2, 32)
    head.reset(0, "")
    assert torch.equal(head(x), x)
    head.reset(3, "avg", in_features=64)
    assert head(torch.randn(2, 64, 2, 2)).shape == (2, 3)


def test_what_does_not_divide_is_refused_with_the_numbers():
    with pytest.raises(
        ValueError, match="the 100 channels of the values must be a positive multiple of num_queries 32"
    ):
        EfficientProbingHead(100, 3)
    with pytest.raises(ValueError, match="dim 100 is not a multiple of num_heads 8"):
        AggregationHead(100, 3, num_heads=8)
