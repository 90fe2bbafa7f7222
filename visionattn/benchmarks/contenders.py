"""The models that ``visionattn benchmark backbones`` measures in turn: ours and timm's in their forms, and runtimes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
import torch._inductor
import yaml
from timm.layers import DropPath
from torch import Tensor, nn

from visionattn.backbones.zoo import backbone_files, create_backbone
from visionattn.benchmarks import runtimes
from visionattn.benchmarks.timing import Runner
from visionattn.config.messages import one_line
from visionattn.errors import ConfigError, did_you_mean
from visionattn.kernels.backends.triton.fallback import without_fallback
from visionattn.weights import load_weights

OURS, TIMM, PLAIN = "visionattn", "timm", "plain"
INFERENCE, TRAIN = "inference", "train"
Compile = bool | str
Form = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Work:
    """What each contender does.

    Attributes:
        kind: ``inference``, or ``train``: forward, backward and a fused AdamW step.
        dtype: ``float32``, ``bfloat16`` (autocast) or, for runtimes, ``int8``.
        images: ``(B, 3, S, S)``.
    """

    kind: str
    dtype: str
    images: Tensor

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """The context of the forward pass."""
        on = self.dtype == "bfloat16"
        return torch.autocast(self.images.device.type, torch.bfloat16) if on else nullcontext()


@dataclass(frozen=True)
class Contender:
    """A model in one form, or the reason why there is none.

    Attributes:
        model: ``visionattn``, ``timm``, ``plain``, ``onnxruntime``, ``openvino``.
        compile: mode of ``torch.compile``, or the options of its compiler; an empty string: not compiled.
        channels_last: whether images and weights of convolutions have channels last.
        run: what is timed; None where it cannot run.
        reason: why it cannot run.
        first_seconds: seconds of the first call, with compilation.
        relative_error: of a runtime's output, against ours in float32.
        seconds: of a runtime, which is timed in a process of its own; its ``run`` is None.
    """

    model: str
    compile: str = ""
    channels_last: bool = False
    run: Runner | None = None
    reason: str = ""
    first_seconds: float | None = None
    relative_error: float | None = None
    seconds: float | None = None

    @property
    def label(self) -> str:
        """The name of a row on the screen."""
        mode = {"": "", "default": " compiled"}.get(self.compile, f" {self.compile}")
        return f"{self.model}{mode}{' nhwc' if self.channels_last else ''}"


def with_counterpart(name: str, side: int, compared: bool = True) -> dict[str, nn.Module]:
    """Our model and, where the card names one, timm's with the same weights, checked to agree, both without drop path.

    Args:
        name: backbone.
        side: side of the square image of the check.
        compared: False: ours alone.

    Raises:
        ConfigError: timm's takes no image of this size, or the outputs differ by more than 1e-4; then a comparison of
            speed means nothing.
    """
    card = backbone_files()[name]["card"]
    counterpart = (card.get("weights") or {}).get("timm") if compared else None
    with torch.random.fork_rng():
        torch.manual_seed(0)  # equal weights in each run: a graph that is kept stays the model's
        ours = create_backbone(name)
        theirs = timm.create_model(counterpart, pretrained=False, num_classes=1000) if counterpart else None
    if theirs is None:
        return {OURS: ours}
    for module in theirs.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0  # some of timm's models drop a tenth unless told otherwise: more work per step
    load_weights(ours, theirs.state_dict())
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        try:
            expected = theirs.eval()(image)
        except (AssertionError, RuntimeError) as refusal:
            told = f"timm's {counterpart} takes no image of {side} pixels ({one_line(refusal)})"
            raise ConfigError(f"{told}; against=[plain] measures {name} without it") from refusal
        error = float((ours.eval()(image) - expected).abs().max() / expected.abs().max())
    if not error < 1e-4:
        raise ConfigError(f"{name} and timm's {counterpart} differ by {error:.1e}; nothing was measured")
    return {OURS: ours, TIMM: theirs}


def contenders(
    models: dict[str, nn.Module], work: Work, compiled: Sequence[Compile], layouts: Sequence[bool]
) -> Iterator[Contender]:
    """Each model in each form, called once; one that fails has its reason.

    Args:
        models: name to model, on the device of the images.
        work: what each does.
        compiled: ``False``, ``True``, modes of ``torch.compile`` or options of its compiler (:func:`compiling`).
        layouts: ``False`` for torch's usual layout, ``True`` for channels last.
    """
    for last in layouts:
        for owner, original in models.items():
            model = copy.deepcopy(original).to(memory_format=torch.channels_last) if last else original
            images = work.images.contiguous(memory_format=torch.channels_last) if last else work.images
            model.train(work.kind == TRAIN)
            for choice in compiled:
                mode = "default" if choice is True else choice or ""
                form: Form = torch.compile(model, **compiling(mode), dynamic=False) if mode else model
                own = replace(work, images=images)
                run = _train(form, model, own) if work.kind == TRAIN else _infer(form, own)
                yield called(Contender(owner, mode, last), run)


def compiling(choice: str) -> dict[str, Any]:
    """The arguments of ``torch.compile`` for its mode, or for options of Inductor, ``name=value`` joined by commas.

    Raises:
        ConfigError: torch has no such mode or option, or a value is missing.
    """
    if "=" not in choice:
        if choice not in (modes := list(torch._inductor.list_mode_options())):
            raise ConfigError(f"torch.compile has no mode {choice}; choose from {', '.join(modes)}")
        return {"mode": choice}
    options = {}
    for word in choice.split(","):
        name, _, value = word.strip().partition("=")
        if name not in (known := torch._inductor.list_options()):
            raise ConfigError(f"torch.compile has no option {name}{did_you_mean(name, known)}")
        options[name] = yaml.safe_load(value)
    return {"options": options}


def runtime_contenders(
    names: Sequence[str], model: nn.Module, work: Work, graph: Callable[[], Path], rounds: int
) -> Iterator[Contender]:
    """ONNX Runtime and OpenVINO on our exported graph, their outputs compared with ours.

    Args:
        names: some of :data:`visionattn.benchmarks.runtimes.RUNTIMES`.
        model: ours.
        work: what each does.
        graph: writes the graph, or finds it.
        rounds: of the measurement.
    """
    for name in names:
        contender = Contender(name)
        if work.kind == TRAIN:
            yield replace(contender, reason="an exported graph cannot be trained")
            continue
        try:
            seconds, error = runtimes.measure(name, model, work.images, work.dtype, graph, rounds)
        except ConfigError as failure:
            yield replace(contender, reason=str(failure))
            continue
        yield replace(contender, relative_error=error, seconds=seconds)


def called(contender: Contender, run: Runner) -> Contender:
    """The contender after its first call, which compiles."""
    start = time.perf_counter()
    try:
        with without_fallback():
            run()
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways; the others are measured all the same
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return replace(contender, reason=f"{type(error).__name__}: {lines[0] if lines else ''}"[:300])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return replace(contender, run=run, first_seconds=time.perf_counter() - start)


def _infer(form: Form, work: Work) -> Runner:
    def infer() -> None:
        with torch.inference_mode(), work.autocast():
            form(work.images)

    return infer


def _train(form: Form, model: nn.Module, work: Work) -> Runner:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.0, weight_decay=0.0, fused=True, capturable=work.images.device.type == "cuda"
    )

    def train() -> None:
        with work.autocast():
            loss = form(work.images).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return train
