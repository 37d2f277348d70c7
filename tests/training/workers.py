"""What the processes of `test_distributed` do: one network trained by all of them, in one way after another.

`python -m tests.training.workers FOLDER`, started by `accelerate launch`; each process leaves its results in
`FOLDER/<number>.pt`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill_bench import training
from distill_bench.groups import Augmentation, Norm, Optimiser, Recipe
from distill_bench.interrupt import Interrupted
from distill_bench.training import distributed
from distill_bench.training.fit import Loop
from tests.training.build import batches, images, network, plain_loop, recipe, run_in
from tests.training.objectives import Projected

CASES: dict[str, dict[str, Any]] = {
    "instance norm": {},
    "batch norm": {"norm": Norm.batch},
    "batches of odd sizes": {"norm": Norm.batch, "batch_size": 7},
    "a last batch of one image": {"norm": Norm.batch, "batch_size": 19},
    "adamw, averages and clipping": {
        "norm": Norm.batch,
        "optimiser": Optimiser.adamw,
        "lr": 0.01,
        "ema": 0.8,
        "clip": 0.5,
    },
    "siamese augmentation": {"augment": True},
    "padded crops and cutmix": {
        "norm": Norm.batch,
        "augment": True,
        "augmentation": Augmentation.pad_crop,
        "rotation": 15.0,
        "cutmix": True,
    },
    "an objective of whole batches": {"norm": Norm.batch, "whole": True},
    "batches drawn one by one": {"drawn": True, "norm": Norm.batch},
}

STOP = 4  # the step in which process 0 is asked to stop


def source(asked: Recipe, drawn: bool) -> training.BatchSource:
    """The batches of a case."""
    if not drawn:
        return batches(asked, families="color_flip_scale_rotate")
    x, y = images()

    def draw(step: int) -> tuple[Tensor, Tensor]:
        picks = torch.randperm(len(x), generator=torch.Generator().manual_seed(step))[:9]
        return x[picks], y[picks]

    return training.DrawnBatches(draw, 3)


def trained(case: dict[str, Any], loop: Loop = plain_loop, seed: int = 5, **more: Any) -> dict[str, Tensor]:
    """The weights, and what the hook and the objective noted, after the training of a case."""
    fields = dict(case)
    norm, whole, drawn = (
        fields.pop(*default) for default in (("norm", Norm.instance), ("whole", False), ("drawn", False))
    )
    asked, net = recipe(**fields), network(norm, seed)
    objective = Projected() if whole else training.CrossEntropy()
    losses = torch.zeros(asked.epochs + 1, dtype=torch.float64)

    def note(epoch: int, loss: Tensor) -> None:
        losses[epoch] = loss

    training.fit(
        net,
        source(asked, drawn),
        asked,
        epochs=asked.epochs,
        objective=objective,
        loop=loop,
        name="train",
        on_epoch=note,
        state={"losses": losses},
        **more,
    )
    return {**net.state_dict(), **objective.state_dict(), "losses": losses[1:]}


def stopped_and_gone_on(folder: Path) -> dict[str, Any]:
    """A training in which process 0 alone is asked to stop, then goes on; and what was said and written."""
    case, here = CASES["batch norm"], folder / f"run{distributed.number()}"
    run, logged = run_in(here), list[int]()

    def log(step: int, _loss: Tensor) -> None:
        logged.append(step)
        run.interrupt.requested = step == STOP

    said = ""
    try:
        trained(case, run.loop, log=log)
    except Interrupted as stop:
        said = str(stop)
    written = sorted(path.name for path in here.iterdir())
    result = trained(case, run_in(here).loop)
    return {"result": result, "again": trained(case, run_in(here).loop), "said": said} | {
        "written": written,
        "logged": logged,
    }


def made_by_process_0(_folder: Path) -> dict[str, Tensor] | None:
    """What process 0 makes while the others wait."""
    made = None
    if distributed.is_writer():
        with distributed.alone():
            assert distributed.world() == 1
            made = trained(CASES["batch norm"])
    distributed.barrier()
    return made


def main(folder: Path) -> None:
    """All of it, in this process's part."""
    torch.set_num_threads(1)
    distributed.start("cpu")
    work: dict[str, Callable[[], Any]] = {name: partial(trained, case) for name, case in CASES.items()}
    work["other weights to begin with"] = partial(trained, CASES["batch norm"], seed=5 + distributed.number())
    work["stopped"] = partial(stopped_and_gone_on, folder)
    work["alone"] = partial(made_by_process_0, folder)
    results: dict[str, Any] = {name: do() for name, do in work.items()}
    results["world"] = distributed.world()
    torch.save(results, folder / f"{distributed.number()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
