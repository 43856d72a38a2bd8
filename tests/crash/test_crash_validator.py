"""The validator, killed with SIGKILL at every step of an epoch and restarted."""

import signal
from collections.abc import Iterator, Sequence

import pytest

from tests.support.crash_validate import Court, Outcome, Trial, running_court

pytestmark = pytest.mark.slow

# Calls that leave nothing behind when the process dies, as closing does not either.
READING = frozenset(
    [
        *("chain.genesis", "chain.require_uid", "chain.epoch_status", "chain.block_hash", "chain.snapshot"),
        *("chain.weights_on_chain", "hub.account", "evaluator.base_loss"),
    ]
)


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Court]:
    with running_court(tmp_path_factory.mktemp("court")) as court:
        yield court


@pytest.fixture(scope="module")
def undisturbed(court: Court) -> tuple[list[str], Outcome]:
    """The steps of an undisturbed run, and its outcome."""
    trial = court.trial()
    run = trial.run()
    assert run.status == 0, run.said
    assert len(run.evaluated) == len(set(run.evaluated)) == 3
    return run.steps, trial.outcome()


@pytest.fixture(scope="module")
def goal(undisturbed: tuple[list[str], Outcome]) -> Outcome:
    return undisturbed[1]


@pytest.fixture(scope="module")
def calls(undisturbed: tuple[list[str], Outcome], every_step: bool) -> list[str]:
    """After every call of chain, hub and evaluator, and after everything that changed the ledger.

    Reading the ledger changes nothing, and before a call is after the previous one: only
    ``--every-step`` takes these too.
    """
    steps, _ = undisturbed
    return [step for step in steps if every_step or (step.startswith("after ") and not _is_question(step))]


def _is_question(step: str) -> bool:
    return step.startswith("after ledger.")


@pytest.fixture(scope="module")
def writing(calls: Sequence[str], every_step: bool) -> list[str]:
    """Of the calls, those that may leave something behind: after any other, all that outlives the process is
    as it was after the one before.
    """
    return [step for step in calls if every_step or not _leaves_nothing(step)]


def _leaves_nothing(step: str) -> bool:
    _, name, _number = step.rsplit(" ", 2)
    return not step.startswith("after writing ") and (name in READING or name.endswith(".close"))


@pytest.fixture(scope="module")
def requests(court: Court, goal: Outcome, every_step: bool) -> list[str]:
    """Before and after the request that sets the weights; with ``--every-step`` every request."""
    trial = court.trial()
    steps = trial.run_on_the_wire()
    assert trial.outcome() == goal
    return [step for step in steps if every_step or "author_submit" in step]


def finish(trial: Trial, goal: Outcome) -> None:
    """Restart the validator: the outcome is the same as if nothing had happened."""
    run = trial.run()
    assert run.status == 0, run.said
    assert trial.outcome() == goal


def test_validator_killed_before_or_after_any_call_comes_to_the_same_end(
    court: Court, writing: Sequence[str], goal: Outcome
) -> None:
    for step in writing:
        trial = court.trial()
        assert trial.run({step}).status == -signal.SIGKILL, step
        finish(trial, goal)
        assert trial.repeated() <= trial.unstored() <= 1, step


def test_validator_killed_before_or_after_any_request_comes_to_the_same_end(
    court: Court, requests: Sequence[str], goal: Outcome
) -> None:
    for step in requests:
        trial = court.trial()
        trial.run_on_the_wire({step})
        # How often the SDK reads the same again varies.
        assert trial.runs[-1].status == -signal.SIGKILL or "author_submit" not in step, step
        finish(trial, goal)
        assert trial.repeated() <= trial.unstored() <= 1, step


def test_validator_killed_at_one_step_after_the_other_comes_to_the_same_end(
    court: Court, calls: Sequence[str], goal: Outcome
) -> None:
    trial = court.trial()
    left = set(calls)
    while (run := trial.run(left)).status == -signal.SIGKILL:
        left.remove(run.steps[-1])
    assert run.status == 0, run.said
    assert trial.outcome() == goal
    assert trial.repeated() <= trial.unstored()


def test_validator_killed_while_its_weights_wait_for_a_block_sends_no_others(
    court: Court, goal: Outcome
) -> None:
    trial = court.trial()
    with court.pulse.held(1.0):
        trial.run_on_the_wire({"after author_submitAndWatchExtrinsic #1"})
    finish(trial, goal)


def test_validator_asked_to_stop_at_any_call_ends_in_time_and_goes_on_later(
    court: Court, calls: Sequence[str], goal: Outcome
) -> None:
    for step in calls[::4]:
        trial = court.trial()
        run = trial.run({step}, signal.SIGTERM)
        assert run.status == 0, (step, run.said)
        assert run.seconds < 10  # the promise, not a measurement
        finish(trial, goal)
        assert trial.repeated() == 0, step
