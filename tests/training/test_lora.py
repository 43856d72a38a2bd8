from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM

from flockoff.tokens import load_encoder
from flockoff.training.loss import row_losses
from flockoff.training.model import load_model
from flockoff.training.packing import balanced_passes, passes
from flockoff.training.trainer import trained_adapter
from tests.support.plain_training import plain_loss
from tests.support.tiny_model import row, rules

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")]

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


@given(lengths=st.lists(st.integers(1, 50), max_size=30), most=st.integers(0, 120))
def test_passes_take_all_rows_in_order_within_the_budget(lengths: list[int], most: int) -> None:
    groups = passes(lengths, most)
    assert [number for group in groups for number in group] == list(range(len(lengths)))
    assert all(len(group) == 1 or sum(lengths[number] for number in group) <= most for group in groups)


@given(lengths=st.lists(st.integers(1, 50), max_size=12), most=st.integers(0, 120))
def test_balanced_passes_are_as_many_and_their_largest_is_the_smallest(lengths: list[int], most: int) -> None:
    plain, balanced = passes(lengths, most), balanced_passes(lengths, most)
    assert [number for group in balanced for number in group] == list(range(len(lengths)))
    assert len(balanced) == len(plain)
    largest = max((sum(lengths[number] for number in group) for group in balanced), default=0)
    assert largest <= max((sum(lengths[number] for number in group) for group in plain), default=0)
    assert largest == 0 or len(passes(lengths, largest - 1)) > len(plain) or largest == max(lengths)


def test_balanced_passes_of_eight_like_rows_of_which_seven_would_fit_are_two_of_four() -> None:
    assert balanced_passes([100] * 8, 799) == [range(4), range(4, 8)]
