from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM

from flockoff.tokens import load_encoder
from flockoff.training.dropout import RowDropout, keep_probability
from flockoff.training.loss import row_losses
from flockoff.training.model import load_model
from flockoff.training.packing import passes
from flockoff.training.trainer import trained_adapter
from tests.support.plain_training import plain_loss
from tests.support.tiny_model import row, rules

pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")

CPU = torch.device("cpu")


def test_adapter_saved_by_peft_has_the_same_loss_in_peft(
    model_dir: Path, evaluation_file: Path, tmp_path: Path
) -> None:
    competition = rules(evaluation_file)
    rows = load_encoder(model_dir, 128).encode([row(f"Say {n}.", "yes " * n) for n in range(1, 9)])
    model = load_model(model_dir, competition, CPU)
    with trained_adapter(model, rows, competition, 1, lambda *_: None):
        model.adapters.model.save_pretrained(str(tmp_path))
        ours = row_losses(model, rows, lambda done: None).mean
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_dir), tmp_path)
    with torch.no_grad():
        assert plain_loss(plain, rows).item() == pytest.approx(ours, rel=1e-5)


def test_row_dropout_keeps_with_the_probability_that_it_says() -> None:
    kept = RowDropout(0.1, 7, 0, 0, (4000,)).kept(0, 500, CPU)
    assert set(kept.flatten().tolist()) == {0, 1}
    assert keep_probability(0.1) == 1 - 6554 / 65536
    share, deviation = kept.float().mean().item(), (0.09 / kept.numel()) ** 0.5
    assert abs(share - keep_probability(0.1)) < 5 * deviation


def test_row_dropout_is_a_row_s_own_whatever_is_in_its_pass() -> None:
    together = RowDropout(0.5, 7, 3, 0, (5, 9, 4)).kept(2, 33, CPU)
    assert torch.equal(together[5:14], RowDropout(0.5, 7, 3, 1, (9,)).kept(2, 33, CPU))
    assert torch.equal(together[5:], RowDropout(0.5, 7, 3, 1, (9, 4)).kept(2, 33, CPU))
    others = [
        RowDropout(0.5, seed, step, first, (9,)).kept(layer, 33, CPU)
        for seed, step, first, layer in [(8, 3, 1, 2), (7, 4, 1, 2), (7, 3, 2, 2), (7, 3, 1, 3)]
    ]
    assert not any(torch.equal(together[5:14], other) for other in others)


@given(lengths=st.lists(st.integers(1, 50), max_size=30), most=st.integers(0, 120))
def test_passes_take_all_rows_in_order_within_the_budget(lengths: list[int], most: int) -> None:
    groups = passes(lengths, most)
    assert [number for group in groups for number in group] == list(range(len(lengths)))
    assert all(len(group) == 1 or sum(lengths[number] for number in group) <= most for group in groups)
