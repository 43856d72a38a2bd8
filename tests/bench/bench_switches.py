"""The effect of each training optimisation: each turned off alone, then all; and scaling with size.

    python -m tests.bench switches
    python -m tests.bench switches --model qwen2 --repeats 5
    python -m tests.bench switches --linear 1000 2000 4000 8000

One optimizer step of 8 sample rows at dropout 0.1, in CPU seconds of all threads, which a busy machine
changes less than the clock's; the variants take turns, and the numbers are medians.

- "dropout free": without dropout, which shows what its random numbers and masks cost
- "rows apart": each row in a pass of its own
- "recomputed": each row in a pass of its own, and its activations computed again
- "bfloat16": products in bfloat16
- "TRL": the same step through SFTTrainer's hooks, with what sets it up; "loop": the same without it

``--linear``: CPU seconds and memory of training on so many rows of 16 tokens, for a model of two layers.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil
import torch
from transformers import get_linear_schedule_with_warmup, logging

from flockoff.competition import Competition, Training
from flockoff.dataset import load_rows
from flockoff.records import EncodedRow
from flockoff.tokens import load_encoder
from flockoff.training.device import choose_device, compute_exactly
from flockoff.training.loss import add_step_gradients
from flockoff.training.model import LanguageModel, load_model
from flockoff.training.trainer import trained_adapter
from tests.bench.training.models import MODELS, model_directory, write_rows

STEP_ROWS = Training().rows_per_step
SEED = 1


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def through_trl(model: LanguageModel, rows: Sequence[EncodedRow], rules: Competition) -> None:
    with trained_adapter(model, rows, rules, SEED, lambda *_: None):
        pass


def bare_loop(model: LanguageModel, rows: Sequence[EncodedRow], rules: Competition) -> None:
    """One step of what ``through_trl`` does."""
    model.adapters.reset(SEED)
    parameters = list(model.adapters.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=rules.training.learning_rate, fused=True)
    schedule = get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimizer, rules.training.warmup_steps, 1
    )
    add_step_gradients(model, rows, rules.lora.dropout, SEED, 0)
    torch.nn.utils.clip_grad_norm_(parameters, rules.training.max_grad_norm)
    optimizer.step()
    schedule.step()
    model.adapters.clear()


def switches(directory: Path, rows: Sequence[EncodedRow], repeats: int) -> None:
    rules = Competition(training=Training(epochs=1))
    model = load_model(directory, rules, choose_device(None))

    def step(rate: float = rules.lora.dropout, **changes: object) -> None:
        changed = replace(model, **changes)  # type: ignore[arg-type]
        add_step_gradients(changed, rows, rate, SEED, 0)
        model.adapters.clear()

    longest = max(len(row.input_ids) for row in rows)
    variants: dict[str, Callable[[], None]] = {
        "as it is": step,
        "dropout free": lambda: step(0.0),
        "rows apart": lambda: step(kept_tokens=longest),
        "recomputed": lambda: step(kept_tokens=0),
        "bfloat16": lambda: step(compute=torch.bfloat16),
        "TRL": lambda: through_trl(model, rows, rules),
        "loop": lambda: bare_loop(model, rows, rules),
    }
    bare_loop(model, rows[:1], rules)
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, work in variants.items():
            taken[name].append(cpu_seconds(work))
    first = taken["as it is"]
    for name, seconds in taken.items():
        speed = median(whole / one for whole, one in zip(first, seconds, strict=True))
        say(f"  {name:14}{median(seconds):8.2f} CPU s{speed:8.2f} of the speed")


def small_model(directory: Path) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(directory)
    return directory


def linear(counts: Sequence[int], scratch: Path) -> None:
    directory = model_directory("smollm2", scratch)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (scratch / "small").mkdir(exist_ok=True)
        (scratch / "small" / name).write_bytes((directory / name).read_bytes())
    rules = Competition(training=Training(epochs=1, context_length=64))
    model = load_model(small_model(scratch / "small"), rules, choose_device(None))
    process = psutil.Process()
    for count in counts:
        rows = [
            EncodedRow(tuple((place * 7 + token) % 512 for token in range(16)), (False,) * 8 + (True,) * 8)
            for place in range(count)
        ]
        before = process.memory_info().rss
        seconds = cpu_seconds(lambda rows=rows: through_trl(model, rows, rules))  # type: ignore[misc]
        grown = (process.memory_info().rss - before) / 2**20
        say(f"  {count:6} rows {seconds:8.2f} CPU s {1000 * seconds / count:8.3f} ms a row {grown:+8.1f} MiB")


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--context", type=int, default=4096, help="tokens of a row (default: 4096)")
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--linear", type=int, nargs="+", metavar="ROWS", help="only this")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    compute_exactly(options.threads)
    with tempfile.TemporaryDirectory(prefix="flockoff-bench-") as directory:
        scratch = Path(directory)
        if options.linear:
            linear(options.linear, scratch)
            return
        base = model_directory(options.model, scratch)
        encoder = load_encoder(base, options.context)
        file = write_rows(scratch / "data.jsonl", STEP_ROWS)
        rows = encoder.encode(load_rows(file, Competition().limits, encoder.special_tokens))
        say(f"{options.model}: {sum(len(row.input_ids) for row in rows)} tokens")
        switches(base, rows, options.repeats)


if __name__ == "__main__":
    main()
