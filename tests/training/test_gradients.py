"""The gradient that reaches the optimizer: unscaled, clipped, averaged over what was accumulated."""

from functools import partial

import pytest
import torch
from lightning import Callback
from lightning.pytorch.plugins import MixedPrecision
from timm.utils.agc import adaptive_clip_grad

from tests.training.tiny_run import SGD, Data, tiny_task, tiny_trainer
from visionattn.errors import ConfigError
from visionattn.training.clipping import clip_adaptively

pytestmark = pytest.mark.filterwarnings("ignore")
SCALE = 2.0**10  # small enough for gradients near 1 to fit into fp16


class Gradients(Callback):
    """Keeps the norm of the gradient as callbacks see it, and as the optimizer gets it."""

    def __init__(self) -> None:
        self.before, self.used = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before.append(norm_of(pl_module))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        if any(p.grad is not None for p in pl_module.parameters()):
            self.used.append(norm_of(pl_module))


def norm_of(task):
    return float(torch.nn.utils.get_total_norm([p.grad for p in task.parameters()]))


def fp16(scaler=None):
    return MixedPrecision("16-mixed", "cpu", scaler or torch.amp.GradScaler("cpu", init_scale=SCALE))


def train(folder, *plugins, optimizer=SGD, count=8, **options):
    task, seen = tiny_task(optimizer), Gradients()
    start = {name: value.clone() for name, value in task.state_dict().items()}
    tiny_trainer(folder, seen, plugins=list(plugins), **options).fit(task, datamodule=Data(count))
    return seen, {name: value - start[name] for name, value in task.state_dict().items()}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "options", [{"gradient_clip_val": 1e-3}, {"gradient_clip_val": 1e-3, "accumulate_grad_batches": 2}]
)
def test_fp16_clips_the_unscaled_gradient(tmp_path, fused, options):
    adamw = partial(
        torch.optim.AdamW, lr=0.1, eps=1e-3, fused=fused
    )  # a large eps: the step follows the gradient's size
    seen, moved = train(tmp_path, fp16(), optimizer=adamw, **options)
    plain, expected = train(tmp_path, optimizer=adamw, **options)
    assert seen.before == pytest.approx(plain.before, rel=1e-2)
    for name, change in moved.items():
        torch.testing.assert_close(change, expected[name], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_fp16_with_a_fused_optimizer_clips_by_either_algorithm(tmp_path, algorithm):
    adamw = partial(torch.optim.AdamW, lr=0.1, fused=True)
    options = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": algorithm}
    seen, _ = train(tmp_path, fp16(), optimizer=adamw, **options)
    plain, _ = train(tmp_path, optimizer=adamw, **options)
    assert seen.used == pytest.approx(plain.used, rel=1e-2)


def test_an_epochs_last_group_averages_over_the_batches_that_it_has(tmp_path):
    options = {"accumulate_grad_batches": 4, "limit_train_batches": 6, "gradient_clip_val": 0.0}
    seen, _ = train(tmp_path, count=12, optimizer=partial(torch.optim.SGD, lr=0.0), **options)
    images = Data(12).images
    expected = []
    for part in (images[:8], images[8:]):  # 4 batches of 2, then the 2 that are left
        task = tiny_task()
        task.step({"image": part}).loss.backward()
        expected.append(norm_of(task))
    assert seen.before == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("batches", "accumulated", "steps"), [(6, 4, 2), (8, 4, 2), (3, 5, 1), (6, 1, 6)])
def test_the_schedule_counts_the_steps_that_lightning_makes(tmp_path, batches, accumulated, steps):
    asked = {}

    def schedule(optimizer, total_steps, steps_per_epoch):
        from visionattn.training import constant

        asked.update(total=total_steps, per_epoch=steps_per_epoch)
        return constant(optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch)

    task = tiny_task(schedule=schedule)
    trainer = tiny_trainer(tmp_path, max_epochs=2, accumulate_grad_batches=accumulated)
    trainer.fit(task, datamodule=Data(2 * batches))
    assert asked == {"total": 2 * steps, "per_epoch": steps}
    assert trainer.global_step == 2 * steps


def test_adaptive_clipping_bounds_the_gradient_of_each_row_by_the_row(tmp_path):
    seen, factor, lr = {}, 0.02, 0.1
    task = tiny_task(partial(torch.optim.SGD, lr=lr), adaptive_clip=factor)
    before = {name: value.detach().clone() for name, value in task.named_parameters()}
    tiny_trainer(tmp_path, limit_train_batches=1).fit(task, datamodule=Data(2))
    for name, value in task.named_parameters():
        rows = (lambda t: t.norm(dim=1)) if value.ndim > 1 else (lambda t: t.norm())
        seen[name] = rows((before[name] - value.detach()) / lr) / rows(before[name]).clamp(min=1e-3)
    assert all(float(share.max()) <= factor * 1.001 for share in seen.values())
    assert any(float(share.max()) == pytest.approx(factor, rel=1e-3) for share in seen.values())


def test_adaptive_clipping_is_timms():
    torch.manual_seed(0)
    shapes = [(3, 4), (5,), (2, 3, 3, 3), ()]
    ours, theirs = ([torch.nn.Parameter(torch.empty(shape)) for shape in shapes] for _ in range(2))
    for mine, other in zip(ours, theirs, strict=True):
        mine.data.normal_()
        other.data.copy_(mine.data)
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    clip_adaptively(ours, 0.3)
    adaptive_clip_grad(theirs, clip_factor=0.3)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_adaptive_clipping_is_a_positive_share():
    with pytest.raises(ConfigError, match=r"task.adaptive_clip is a positive share such as 0.02, not -1"):
        tiny_task(adaptive_clip=-1)
