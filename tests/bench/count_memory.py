"""The memory of training Qwen2.5-1.5B, counted without a device on fake tensors.

    python -m tests.bench.count_memory
    python -m tests.bench.count_memory --rows 2 --tokens 4096 --memory 12 24

A Qwen2 of Qwen2.5-1.5B's sizes, held in bfloat16 as it ships, goes through one optimizer step's passes by the
code that a validator runs, divided as on devices of so many GiB, and through an evaluation pass. What is
counted is what is alive at once: weights, the adapter, its gradients and Adam's moments, activations, and
what products need for a moment. The driver's context and the allocator's gaps, about 1 GiB, are not in it.
Beside it stands what the planner says before anything is loaded.
"""

import argparse
import sys
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, Qwen2Config

from flockoff.competition import Competition
from flockoff.planner.memory import memory_need
from flockoff.planner.model import KNOWN_SIZES, ModelSize
from flockoff.records import EncodedRow
from flockoff.training import packing
from flockoff.training.dropout import RowDropout
from flockoff.training.head import negative_log_likelihoods
from flockoff.training.lora import Adapters
from flockoff.training.loss import add_pass_gradients, answer_states
from flockoff.training.model import LanguageModel
from flockoff.training.packing import pack, passes
from tests.support.counted_kernels import CountedKernels

META = torch.device("meta")
SIZE = KNOWN_SIZES["Qwen/Qwen2.5-1.5B-Instruct"]
ANSWERED = 0.35  # of a row's tokens are the assistant's
GIB = 2**30


class Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operations made and nobody has let go of."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, count: int) -> None:
        self.now -= count


def empty_model(size: ModelSize, competition: Competition) -> LanguageModel:
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        tie_word_embeddings=size.tied,
    )
    packing.register_attention()
    network = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=torch.bfloat16
    )
    network.requires_grad_(False)
    adapters = Adapters(network, competition.lora)
    network.set_attn_implementation(packing.ATTENTION)
    return LanguageModel(
        network=network,
        tokenizer=PreTrainedTokenizerBase(),  # type: ignore[no-untyped-call]
        device=META,
        adapters=adapters,
        compute=torch.bfloat16,
        kept_tokens=0,
    )


class SizesOfDropout(RowDropout):
    """What it takes, without numbers drawn."""

    def kept(self, layer: int, width: int, device: torch.device) -> torch.Tensor:
        words = torch.empty((sum(self.lengths), width), dtype=torch.int16, device=device)
        return words.to(torch.int8)


def flash_attention() -> AbstractContextManager[object]:
    """Tensors without content are on no card: they are told apart from those of a card without flash."""
    return patch.object(packing, "_has_flash", lambda _: True)  # a mock would keep what it was called with


def count_training(competition: Competition, rows: Sequence[EncodedRow], kept_tokens: int) -> int:
    """Bytes at the peak of one optimizer step, with the kernels that CUDA has for its attention."""
    with flash_attention(), torch.device("meta"), Alive() as alive:
        model = empty_model(SIZE, competition)
        model.adapters.use(CountedKernels(), gate=True)
        moments = [torch.zeros_like(value) for value in model.adapters.parameters() for _ in range(2)]
        with model.adapters.training(model.compute):
            for group in passes([len(row.input_ids) for row in rows], kept_tokens):
                batch = pack([rows[number] for number in group], META)
                dropout = RowDropout(competition.lora.dropout, 0, 0, group.start, batch.lengths)
                model.adapters.begin_pass(dropout, META, again=sum(batch.lengths) > kept_tokens)
                add_pass_gradients(model, batch, len(batch.targets))
        del moments
        return int(alive.peak)


def count_evaluation(competition: Competition, row: EncodedRow) -> int:
    """Bytes at the peak of an evaluation pass over one row."""
    with torch.device("meta"), Alive() as alive, torch.no_grad():
        model = empty_model(SIZE, competition)
        batch = pack([row], META)
        negative_log_likelihoods(answer_states(model, batch), model.head, batch.targets)
        return int(alive.peak)


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rows", type=int, default=2, help="of a step (default: 2)")
    parser.add_argument("--tokens", type=int, default=4096, help="of a row (default: 4096)")
    parser.add_argument("--memory", type=float, nargs="+", default=[12, 24], help="GiB (default: 12 24)")
    options = parser.parse_args(arguments)
    competition = Competition()
    need = memory_need(SIZE, competition)
    answered = round(ANSWERED * options.tokens)
    row = EncodedRow((0,) * options.tokens, (False,) * (options.tokens - answered) + (True,) * answered)
    for memory in options.memory:
        kept = need.kept_tokens(int(memory * GIB))
        again = options.tokens > kept
        most = count_training(competition, [row] * options.rows, kept)
        passed = options.tokens * (1 if again else min(options.rows, kept // options.tokens))
        told = need.fixed + passed * (need.recomputed_token if again else need.token)
        sys.stdout.write(
            f"{memory:g} GiB: passes of {passed} tokens, {'computed again' if again else 'kept'}: "
            f"{most / GIB:.2f} GiB; the planner says {told / GIB:.2f}\n"
        )
    sys.stdout.write(f"evaluation, in float32: {count_evaluation(competition, row) / GIB:.2f} GiB\n")


if __name__ == "__main__":
    main()
