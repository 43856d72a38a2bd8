"""This machine's GPU: kernels, speed relative to the counted limit, host, memory, reproducibility.

    python -m tests.bench card
    python -m tests.bench card --seconds 300 --json card.json
    python -m tests.bench card --device cpu --tiny        # whether it runs at all

On a model of Qwen2.5-1.5B's sizes with random weights, made here and loaded as a validator loads one. Each
part stands for itself: one that fails is named and the next begins; none begins once ``--seconds`` are over.

- kernels: which of the project's own the worker's trial takes, and why not the others
- peak: the best of some square products, in bfloat16 and float32
- speed: an optimizer step of 8 rows by row length, with the kernels and without; its share of the measured
  peak (MFU), the counted time that the card is busy (``count_step``), and the host's CPU seconds
- peers: the same step by TRL as it comes, by TRL at its best, and with Liger's kernels (``card_peers``)
- evaluation: 64 rows of 256 tokens in float32
- memory: the peak of a step of two long rows, beside what the planner says
- again: the same training twice, and in other passes: the same bits, and the same but for rounding
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, logging

from flockoff.competition import Competition, Training
from flockoff.planner.flops import Load, backward_flops, forward_flops
from flockoff.planner.hardware import find_gpu
from flockoff.planner.model import read_size
from flockoff.records import EncodedRow
from flockoff.training.device import (
    choose_device,
    compute_device,
    compute_exactly,
    memory_bytes,
    training_dtypes,
    training_memory,
)
from flockoff.training.loss import add_step_gradients, row_losses
from flockoff.training.model import LanguageModel, load_model
from tests.bench.card_peers import peers
from tests.bench.count_memory import SIZE
from tests.bench.count_step import BANDWIDTH, count_step
from tests.bench.training.pipelines import peak
from tests.support.tiny_model import write_tokenizer

ROWS = 8
RULES = Competition(training=Training(epochs=1))
GIB = 2**30


@dataclass(slots=True)
class Bench:
    """What to measure on, the findings so far, and the deadline (``time.monotonic``)."""

    device: torch.device
    directory: Path
    until: float
    lengths: Sequence[int]
    long: int  # tokens of a long row
    repeats: int
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> LanguageModel:
        model: LanguageModel = self.found["model"]
        return model


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(bench: Bench, work: Callable[[], object]) -> tuple[float, float]:
    """The median of the clock's, and of this process's CPU seconds before the device is waited for."""
    work()
    whole, host = [], []
    for _ in range(bench.repeats):
        finish(bench.device)
        begun, cpu = time.perf_counter(), time.process_time()
        work()
        host.append(time.process_time() - cpu)
        finish(bench.device)
        whole.append(time.perf_counter() - begun)
    return median(whole), median(host)


def some_rows(count: int, tokens: int, vocabulary: int, seed: int = 1) -> list[EncodedRow]:
    """Rows of ``tokens`` tokens, the later half of them the assistant's."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocabulary, (count, tokens), generator=generator).tolist()
    return [EncodedRow(tuple(row), tuple(place >= tokens // 2 for place in range(tokens))) for row in ids]


@contextmanager
def without_kernels(model: LanguageModel) -> Iterator[None]:
    from flockoff.training.kernels import TritonKernels

    model.adapters.use(None, gate=False)
    try:
        yield
    finally:
        if model.paths.taken:
            model.adapters.use(TritonKernels(), gate="gate" in model.paths.taken)


def make_model(bench: Bench, tiny: bool) -> None:
    torch.manual_seed(0)
    write_tokenizer(bench.directory)
    sizes: dict[str, Any] = {
        "vocab_size": 512 if tiny else SIZE.vocabulary,
        "hidden_size": 64 if tiny else SIZE.hidden,
        "intermediate_size": 128 if tiny else SIZE.intermediate,
        "num_hidden_layers": 2 if tiny else SIZE.layers,
        "num_attention_heads": 4 if tiny else SIZE.heads,
        "num_key_value_heads": 2,
    }
    config = Qwen2Config(**sizes, max_position_embeddings=32768, tie_word_embeddings=True)
    with bench.device:
        network = Qwen2ForCausalLM(config)
    network.bfloat16().save_pretrained(bench.directory)
    del network
    begun = time.perf_counter()
    bench.found["model"] = load_model(bench.directory, RULES, bench.device)
    say(f"  loaded in {time.perf_counter() - begun:.1f} s: {bench.model.precision}")


def kernels(bench: Bench) -> None:
    paths = bench.model.paths
    say(f"  taken: {', '.join(paths.taken) or 'none'}")
    for one in paths.refused:
        say(f"  refused: {one}")
    bench.found["kernels"] = {"taken": paths.taken, "refused": paths.refused}


def peaks(bench: Bench) -> None:
    kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    bench.found["peak"] = {name: peak(kind, bench.device) for name, kind in kinds.items()}
    say(
        "  "
        + ", ".join(f"{value / 1e12:.2f} TFLOP/s in {name}" for name, value in bench.found["peak"].items())
    )


def counted_limit(bench: Bench, tokens: int) -> float | None:
    """Seconds that a card of this name is busy with a step, counted; None for one that is not known."""
    if bench.device.type != "cuda":
        return None
    text = torch.cuda.get_device_name(bench.device)
    known = next((name for name in BANDWIDTH if name in text), None)
    if known is None:
        return None
    gpu, bandwidth = find_gpu(known), BANDWIDTH[known]
    return sum(one.seconds(gpu, bandwidth) for one in count_step(tokens))


def speed(bench: Bench) -> None:
    model, size = bench.model, read_size(bench.directory)
    kind = str(model.compute).removeprefix("torch.")
    say("| rows x tokens | kernels | ms | MFU | host, CPU ms | counted, ms |")
    say("| --- | --- | --- | --- | --- | --- |")
    bench.found["speed"] = []
    for tokens in bench.lengths:
        rows = some_rows(ROWS, tokens, size.vocabulary)
        load = Load.uniform(ROWS, tokens, 0.5)
        rank = RULES.lora.rank
        flops = forward_flops(size, rank, load) + backward_flops(size, rank, load)
        limit = counted_limit(bench, tokens)
        step = stepper(model, rows)
        measured = {"own" if model.paths.taken else "plain": seconds(bench, step)}
        if model.paths.taken:
            with without_kernels(model):
                measured["plain"] = seconds(bench, step)
        for name, (whole, host) in measured.items():
            mfu = flops / whole / bench.found["peak"][kind]
            counted = "-" if limit is None else f"{1e3 * limit:.1f}"
            told = f"{1e3 * whole:.1f} | {mfu:.2f} | {1e3 * host:.1f} | {counted}"
            say(f"| {ROWS} x {tokens} | {name} | {told} |")
            bench.found["speed"].append(
                {
                    "tokens": tokens,
                    "kernels": name,
                    "seconds": whole,
                    "mfu": mfu,
                    "host": host,
                    "limit": limit,
                }
            )
    model.adapters.clear()


def beside_others(bench: Bench) -> None:
    tokens = bench.lengths[len(bench.lengths) // 2]
    size = read_size(bench.directory)
    rows = some_rows(ROWS, tokens, size.vocabulary)
    load, rank = Load.uniform(ROWS, tokens, 0.5), RULES.lora.rank
    flops = forward_flops(size, rank, load) + backward_flops(size, rank, load)
    kind = str(bench.model.compute).removeprefix("torch.")
    say(f"| {ROWS} x {tokens} | ms | MFU | host, CPU ms |")
    say("| --- | --- | --- | --- |")
    bench.found["peers"] = {}
    for name, step in peers(bench.model, bench.directory, RULES, rows, bench.repeats):
        if isinstance(step, str):
            say(f"| {name} | {step} | - | - |")
            bench.found["peers"][name] = step
            continue
        whole, host = step
        mfu = flops / whole / bench.found["peak"][kind]
        say(f"| {name} | {1e3 * whole:.1f} | {mfu:.2f} | {1e3 * host:.1f} |")
        bench.found["peers"][name] = {"tokens": tokens, "seconds": whole, "mfu": mfu, "host": host}


def stepper(model: LanguageModel, rows: Sequence[EncodedRow]) -> Callable[[], float]:
    def step() -> float:
        return add_step_gradients(model, rows, RULES.lora.dropout, 1, 0)

    return step


def evaluation(bench: Bench) -> None:
    rows = some_rows(64, bench.lengths[len(bench.lengths) // 2], len(bench.model.head), seed=2)
    whole, _ = seconds(bench, lambda: row_losses(bench.model, rows, lambda done: None))
    say(f"  {whole:.3f} s for {sum(len(row.input_ids) for row in rows)} tokens")
    bench.found["evaluation"] = whole


def memory(bench: Bench) -> None:
    model = bench.model
    rows = some_rows(2, bench.long, len(model.head))
    dtypes = training_dtypes(bench.device, torch.bfloat16)
    need = training_memory(bench.directory, RULES, dtypes, fused="gate" in model.paths.taken)
    kept = min(model.kept_tokens, 2 * bench.long)
    again = bench.long > kept
    passed = bench.long if again else kept // bench.long * bench.long
    told = need.fixed + passed * (need.recomputed_token if again else need.token)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    stepper(model, rows)()
    model.adapters.clear()
    total = memory_bytes(bench.device)[1] / GIB
    found = torch.cuda.max_memory_allocated(bench.device) / GIB if bench.device.type == "cuda" else None
    measured = "not measured on a CPU" if found is None else f"{found:.2f} GiB"
    say(f"  two rows of {bench.long} tokens: {measured}; told: {told / GIB:.2f}; the device has {total:.1f}")
    bench.found["memory"] = {"measured": found, "told": told / GIB}


def again(bench: Bench) -> None:
    model = bench.model
    rows = some_rows(3 * ROWS, bench.lengths[0], len(model.head), seed=3)
    first, second = (trained(model, rows) for _ in range(2))
    apart = trained(replace(model, kept_tokens=0), rows)
    worst = max(abs(one - other) / abs(other) for one, other in zip(apart, first, strict=True))
    say(
        f"  twice: {'the same bits' if first == second else 'DIFFERENT'}; row by row, recomputed: {worst:.1e}"
    )
    bench.found["again"] = {"same": first == second, "recomputed": worst}


def trained(model: LanguageModel, rows: Sequence[EncodedRow]) -> list[float]:
    """The losses of steps on ``rows``, and one of the adapter's numbers after each."""
    model.adapters.reset(6)
    parameters = list(model.adapters.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, fused=True)
    found = []
    for step in range(len(rows) // ROWS):
        group = rows[ROWS * step : ROWS * step + ROWS]
        found.append(add_step_gradients(model, group, RULES.lora.dropout, 6, step))
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(sum(value.detach().double().abs().sum() for value in parameters)))
    model.adapters.clear()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--device", help="cpu, cuda (default: what a validator would take)")
    parser.add_argument("--tiny", action="store_true", help="a model of two small layers, and short rows")
    parser.add_argument("--seconds", type=float, default=600, help="no part begins later (default: 600)")
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the numbers, for machines")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    compute_exactly(None)
    device = choose_device(options.device)
    say(f"{compute_device(device)}; {', '.join(f'{name} {here}' for name, here in libraries())}")
    parts: dict[str, Callable[[Bench], None]] = {
        "model": lambda bench: make_model(bench, options.tiny),
        "kernels": kernels,
        "peak": peaks,
        "speed": speed,
        "peers": beside_others,
        "evaluation": evaluation,
        "memory": memory,
        "again": again,
    }
    failed = []
    with tempfile.TemporaryDirectory(prefix="flockoff-card-") as directory:
        bench = Bench(
            device,
            Path(directory) / "model",
            time.monotonic() + options.seconds,
            (16, 24) if options.tiny else (64, 256, 1024),
            48 if options.tiny else 4096,
            options.repeats,
        )
        for name, part in parts.items():
            if time.monotonic() > bench.until:
                say(f"{name}: left out, the time is over")
                continue
            say(f"{name}:")
            try:
                part(bench)
            except Exception as error:  # noqa: BLE001  # a card's hour is short: the next part may well work
                say(f"  FAILED: {type(error).__name__}: {error}")
                failed.append(name)
                if name == "model":
                    break
        bench.found.pop("model", None)
    if options.json is not None:
        found = {
            "device": str(compute_device(device)),
            "libraries": dict(libraries()),
            "failed": failed,
        } | bench.found
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def libraries() -> Iterator[tuple[str, str]]:
    yield "CUDA", str(torch.version.cuda)
    for name in ("torch", "triton", "transformers", "peft", "trl"):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "none"


if __name__ == "__main__":
    sys.exit(main())
