"""The miner, killed with SIGKILL at every step and restarted."""

import re
import signal
from collections.abc import Iterator, Sequence

import pytest

from tests.support.crash_mine import Mine, Submission, Traces, running_mine

pytestmark = pytest.mark.slow

DONE = Traces(commits=2, private=False, committed=True, signed=1)
WRITING = re.compile(r" (POST /api/repos/create|POST .*/commit/main|PUT .*/settings|author_submit\w+) ")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Mine]:
    with running_mine(tmp_path_factory.mktemp("mine")) as mine:
        yield mine


@pytest.fixture(scope="module")
def calls(mine: Mine) -> list[str]:
    """The steps of an undisturbed run: before and after every call of hub and chain."""
    submission = mine.submission()
    run = submission.run()
    assert (run.status, submission.traces()) == (0, DONE), run.said
    return run.steps


@pytest.fixture(scope="module")
def ends(calls: Sequence[str], every_step: bool) -> list[str]:
    """After every call; before a call is after the previous one, which only ``--every-step`` takes too."""
    return [step for step in calls if every_step or step.startswith("after ")]


@pytest.fixture(scope="module")
def requests(mine: Mine, every_step: bool) -> list[str]:
    """Of the same run, before and after the requests that write; with ``--every-step`` all of them."""
    submission = mine.submission()
    run = submission.run_on_the_wire()
    assert (run.status, submission.traces()) == (0, DONE), run.said
    return [step for step in run.steps if every_step or WRITING.search(step)]


def finish(submission: Submission) -> None:
    """Restart the miner: it does what is left to do, and nothing twice."""
    run = submission.run()
    assert run.status == 0, run.said
    assert submission.traces() == DONE


def expect_nothing_given_away(submission: Submission) -> None:
    traces = submission.traces()
    assert traces.private or traces.committed, "public before the commitment is on chain"


def test_miner_killed_before_or_after_any_call_goes_on_where_it_was(mine: Mine, ends: Sequence[str]) -> None:
    for step in ends:
        submission = mine.submission()
        assert submission.run({step}).status == -signal.SIGKILL, step
        expect_nothing_given_away(submission)
        finish(submission)


def test_miner_killed_before_or_after_any_request_goes_on_where_it_was(
    mine: Mine, requests: Sequence[str]
) -> None:
    for step in requests:
        submission = mine.submission()
        assert submission.run_on_the_wire({step}).status == -signal.SIGKILL, step
        expect_nothing_given_away(submission)
        finish(submission)


def test_miner_killed_at_one_step_after_the_other_comes_to_the_same_end(
    mine: Mine, calls: Sequence[str]
) -> None:
    submission = mine.submission()
    left = set(calls)
    while (run := submission.run(left)).status == -signal.SIGKILL:
        left.remove(run.steps[-1])
        expect_nothing_given_away(submission)
    assert run.status == 0, run.said
    assert submission.traces() == DONE


def test_miner_killed_while_its_commitment_waits_for_a_block_sends_no_other(mine: Mine) -> None:
    submission = mine.submission()
    with mine.pulse.held(1.0):
        submission.run_on_the_wire({"after author_submitAndWatchExtrinsic #1"})
    finish(submission)


def test_miner_asked_to_stop_at_any_call_ends_in_time_and_goes_on_later(
    mine: Mine, calls: Sequence[str]
) -> None:
    finished = calls.index("after hub.publish #1")
    for place, step in list(enumerate(calls))[::2]:
        submission = mine.submission()
        run = submission.run({step}, signal.SIGTERM)
        assert run.status == (0 if place >= finished else 130), (step, run.said)
        assert run.seconds < 10  # the promise, not a measurement
        expect_nothing_given_away(submission)
        finish(submission)
