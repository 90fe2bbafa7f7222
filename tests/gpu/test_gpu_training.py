"""One training step of every model family on a GPU, in bf16, judged by the same step on the CPU in float32."""

import pytest
import torch

import visionattn
from visionattn.backbones import zoo


def families() -> list[str]:
    """The smallest backbone of each family, by the first word of its name."""
    chosen: dict[str, str] = {}
    for name, contents in zoo.backbone_files().items():
        family = name.split("_")[0]
        smallest = chosen.get(family)
        if smallest is None or contents["card"]["params"] < zoo.backbone_files()[smallest]["card"]["params"]:
            chosen[family] = name
    return sorted(chosen.values())


@pytest.mark.parametrize("name", families())
def test_one_step(name):
    torch.manual_seed(0)
    model = visionattn.create_backbone(name, num_classes=10)
    images, target = torch.randn(4, 3, 96, 96), torch.tensor([1, 2, 3, 4])
    expected = torch.nn.functional.cross_entropy(model.eval()(images), target)
    model.cuda().eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    with torch.autocast("cuda", torch.bfloat16):
        loss = torch.nn.functional.cross_entropy(model(images.cuda()), target.cuda())
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=0.05)
    for parameter_name, param in model.named_parameters():
        assert param.grad is not None, parameter_name
        assert torch.isfinite(param.grad).all(), parameter_name
    before = model.head.fc.weight.detach().clone() if hasattr(model.head, "fc") else None
    optimizer.step()
    assert before is None or not torch.equal(before, model.head.fc.weight)
