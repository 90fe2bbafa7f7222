"""What goes wrong on one of two processes: all of them act alike, at the same step, with the samples named."""

import json
import subprocess
import sys

import torch

PROGRAM = """
import json, os, sys
import torch
from torch import distributed as dist, multiprocessing
from visionattn.training.nonfinite import StepMonitor, gradient_norm


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    guard, notes = StepMonitor("skip"), []
    for step in range(4):
        image = torch.full((2, 3), 1.0)
        if rank == 1 and step == 2:
            image[1, 0] = float("nan")
        prediction = model(image)
        loss = prediction.square().mean()
        optimizer.zero_grad()
        loss.backward()
        records = [("broken.jpg", "empty")] if rank == 1 and step == 1 else []
        guard.see(loss, prediction, {"image": image, "id": [f"{rank}-{step}-a", f"{rank}-{step}-b"]}, records)
        before = [p.detach().clone() for p in model.parameters()]
        parameters = list(model.parameters())
        verdict = guard.decide(gradient_norm(parameters), stop=rank == 1 and step == 3)
        if verdict.skip:
            optimizer.zero_grad()
        optimizer.step()
        notes.append({
            "unchanged": all(torch.equal(a, b) for a, b in zip(before, model.parameters())),
            "samples": verdict.incident.get("samples"),
            "stop": verdict.stop,
            "unreadable": verdict.unreadable,
        })
    with open(f"{folder}/rank{rank}.json", "w") as file:
        json.dump(notes, file)
    dist.barrier()
    os._exit(0)  # threads of gloo now and then abort a process that ends in order


if __name__ == "__main__":
    multiprocessing.spawn(work, (sys.argv[1],), nprocs=2)
"""


def test_two_processes_skip_stop_and_count_alike(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert one == two
    assert [note["unchanged"] for note in one] == [False, False, True, False]
    assert [note["samples"] for note in one] == [None, None, ["1-2-b"], None]
    assert [note["stop"] for note in one] == [False, False, False, True]
    assert one[1]["unreadable"] == [["broken.jpg", "empty"]]


def test_an_optimizer_passes_over_parameters_without_a_gradient():
    """What a skipped step relies on: neither weights nor state nor weight decay move."""
    for kind in (torch.optim.AdamW, torch.optim.SGD):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = kind([weight], lr=0.1, weight_decay=0.5)
        optimizer.step()
        assert torch.equal(weight.detach(), torch.ones(3))
