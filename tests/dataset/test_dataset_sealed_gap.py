"""The sealed set's rule: a dataset that gains more on the public set has learned that set."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import SealedSet
from flockoff.dataset import sealed_gap_fault, sealed_margin
from flockoff.errors import Reason
from flockoff.records import ComputeDevice, Measurement, Precision, Provenance
from tests.support.dataset_texts import EXAMPLES

RULES = SealedSet(repo="a/b", commit="c" * 40, sha256="d" * 64, weight=0.5)
PROVENANCE = Provenance("1", {}, ComputeDevice("cpu"), Precision("float32", "float32", 0), "base", "set", 1)
GAINS = st.floats(-0.5, 0.9)
ROWS = st.integers(1, 5000)


def measured(public: float, sealed: float | None, rows: int = 256) -> Measurement:
    """Losses in nats a token, 10 tokens a row."""
    nll = (10 * public,) * rows
    return Measurement(0.0, 10 * rows, 100, 1000, 25, 1.0, PROVENANCE, row_nll=nll, sealed_loss=sealed)


BASE = measured(2.0, 2.5)


def is_contaminated(public_gain: float, sealed_gain: float, sealed_rows: int = 64) -> bool:
    dataset = measured(2.0 * (1 - public_gain), 2.5 * (1 - sealed_gain))
    return sealed_gap_fault(dataset, BASE, sealed_rows, RULES) is not None


def test_sealed_gap_worked_example() -> None:
    assert sealed_margin(256, 64, RULES) == pytest.approx(0.01 + 4 * 0.06 * math.sqrt(1 / 256 + 1 / 64))
    assert sealed_margin(256, 64, RULES) == pytest.approx(0.0435, abs=1e-4)
    assert is_contaminated(0.30, 0.12)
    assert not is_contaminated(0.085, 0.071)
    assert not is_contaminated(0.085 + 0.04, 0.085)


def test_sealed_gap_fault_says_both_gains_and_what_is_allowed() -> None:
    fault = sealed_gap_fault(measured(1.4, 2.2), BASE, 64, RULES)
    assert fault is not None and fault.reason is Reason.CONTAMINATED
    assert "takes 30.0% off the loss there" in fault.message
    assert "12.0% off that on the sealed" in fault.message
    assert "18.0 points apart where 4.4 are allowed" in fault.message


@pytest.mark.parametrize(("public", "sealed"), [(0.58, 0.0), (0.34, 0.02), (0.25, 0.03), (0.20, 0.06)])
def test_sealed_gap_of_the_measured_attacks_is_contamination(public: float, sealed: float) -> None:
    assert is_contaminated(public, sealed)


@pytest.mark.parametrize("lacking", [measured(2.0, None), measured(2.0, 2.5, rows=0)])
def test_sealed_gap_without_what_it_takes_is_an_error(lacking: Measurement) -> None:
    for pair in ((lacking, BASE), (BASE, lacking)):
        with pytest.raises(ValueError):
            sealed_gap_fault(*pair, 64, RULES)


@EXAMPLES
@given(GAINS, GAINS, st.floats(0, 0.5), ROWS)
def test_sealed_gap_more_public_gain_never_acquits_and_more_sealed_gain_never_condemns(
    public: float, sealed: float, more: float, rows: int
) -> None:
    if is_contaminated(public, sealed, rows):
        assert is_contaminated(public + more, sealed, rows)
    else:
        assert not is_contaminated(public, sealed + more, rows)


@EXAMPLES
@given(GAINS, ROWS)
def test_sealed_gap_equal_gains_are_none(both: float, rows: int) -> None:
    assert not is_contaminated(both, both, rows)


@EXAMPLES
@given(ROWS, ROWS, ROWS)
def test_sealed_gap_margin_falls_with_the_sets_sizes(public: int, sealed: int, more: int) -> None:
    margin = sealed_margin(public, sealed, RULES)
    assert RULES.gap_allowance < sealed_margin(public + more, sealed + more, RULES) < margin
    assert margin == sealed_margin(sealed, public, RULES)
