"""The fused paths under Triton's interpreter, against the plain ones: run with TRITON_INTERPRET=1.

Writes one JSON object: how far each tensor of the fused path is from the plain one's, relative to its norm.
The interpreter knows no products of bfloat16, so all is in float32, as close as rounding.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from flockoff.competition import Competition
from flockoff.records import EncodedRow
from flockoff.training.device import Dtypes
from flockoff.training.dropout import RowDropout, levels_dropped
from flockoff.training.fused import Drops
from flockoff.training.kernels import TritonKernels
from flockoff.training.loss import add_step_gradients
from flockoff.training.model import LanguageModel, load_model
from tests.support.plain_training import gradients, stir

CPU = torch.device("cpu")
ROWS = [
    EncodedRow(tuple(range(first, first + length)), (False,) * 2 + (True,) * (length - 2))
    for first, length in [(10, 7), (90, 4), (30, 5)]
]


def masks() -> bool:
    """Whether the kernels drop what the law drops, to the last bit: on rows that are not the step's first."""
    lengths, width = (5, 13, 3), 160
    dropout = RowDropout(0.3, 2**32 - 1, 3, 2, lengths)
    drops = Drops.of(dropout, CPU)
    ones = torch.ones(sum(lengths), 16), torch.ones(16, width)
    made = TritonKernels().of_input(*ones, drops, 150, 1.0)
    assert drops.law.tolist() == [2**32 - 1, 3, levels_dropped(0.3)]
    return torch.equal(made != 0, dropout.kept(150, width, CPU) != 0)


def step(model: LanguageModel, *, kernels: bool, gate: bool, kept_tokens: int) -> dict[str, torch.Tensor]:
    """The gradients of a step of ``ROWS`` with an adapter that has an effect."""
    model.adapters.use(TritonKernels() if kernels else None, gate=gate)
    model.adapters.reset(3)
    stir(model.adapters.model)
    loss = add_step_gradients(replace(model, kept_tokens=kept_tokens), ROWS, 0.2, seed=5, step=4)
    found = {name: value.clone() for name, value in gradients(model.adapters.model).items()}
    model.adapters.clear()
    return found | {"loss": torch.tensor(loss)}


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).norm() / other[name].norm()) for name in other)


def main() -> None:
    torch.set_num_threads(1)
    dtypes = Dtypes(torch.float32, torch.float32)
    model = load_model(Path(sys.argv[1]), Competition(), CPU, dtypes=dtypes)
    plain = step(model, kernels=False, gate=False, kept_tokens=1000)
    found = {
        "masks": masks(),
        "dropout": apart(step(model, kernels=True, gate=False, kept_tokens=1000), plain),
        "gate": apart(step(model, kernels=True, gate=True, kept_tokens=1000), plain),
        "recomputed": apart(step(model, kernels=True, gate=True, kept_tokens=1), plain),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # taking apart what was imported would take seconds


if __name__ == "__main__":
    main()
