"""Two validators with different histories choose different miners, and measure equal losses."""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flockoff.cli import app
from flockoff.hub import HubClient
from flockoff.ledger import Ledger, StoredEvaluation
from flockoff.openers import ledger_path
from flockoff.records import Evaluation, ModelId
from tests.support.forked import TIMEOUT_SECONDS, Outcome
from tests.support.ledger_records import evaluate
from tests.support.playground import Playground, running_playground
from tests.support.tiny_model import row, write_dataset

pytestmark = pytest.mark.slow

MINERS = 5
PLACES = 3  # so that of five miners two choices have at least one in common


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    directory = tmp_path_factory.mktemp("playground")
    with running_playground(directory, miners=MINERS, validators=2) as playground:
        for number in range(MINERS):
            submit(playground, number)
        yield playground


@pytest.fixture(scope="module")
def data_dirs(playground: Playground, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of two validators after an epoch that both took part in; the first one had an epoch before that."""
    folders = [tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")]
    playground.next_epoch()
    play(playground, folders[:1])
    playground.next_epoch()
    play(playground, folders)
    return folders


def submit(playground: Playground, number: int) -> None:
    """Upload a dataset of this miner's own and commit it."""
    wallet = playground.subnet.miners[number]
    file = playground.directory / f"{wallet.name}.jsonl"
    write_dataset(file, [row(f"How many {wallet.name}s?", f"{wallet.name} " * n) for n in range(1, 9)])
    repo = f"{wallet.name}/data"
    hub = HubClient(playground.hub.add_user(wallet.name), playground.hub.endpoint)
    with closing(hub), closing(playground.chain(wallet)) as chain:
        commit = hub.upload(repo, file).commit
        hub.publish(repo)
        chain.commit(str(ModelId(repo, "f127", commit)))


def play(playground: Playground, folders: list[Path]) -> None:
    """Have the validators of these data folders play one epoch at the same time; all but the first are
    started as people start them.
    """
    flags = ("--epochs", "1", "--miner_sample_size", str(PLACES))
    others = [
        playground.start_validator(folder, *flags, number=number)
        for number, folder in enumerate(folders[1:], start=1)
    ]
    outcomes = [playground.validate(folders[0], *flags)]
    for process in others:
        said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        outcomes.append(Outcome(process.returncode, said))
    for outcome in outcomes:
        assert outcome.status == 0, outcome.said


def evaluations(data_dir: Path) -> dict[str, StoredEvaluation]:
    """The last epoch's, by content."""
    with Ledger.look(ledger_path(data_dir)) as ledger:
        found = ledger.views.evaluations(100)
    last = max(each.evaluation.epoch for each in found)
    return {each.evaluation.content_hash: each for each in found if each.evaluation.epoch == last}


@pytest.fixture
def replay(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> Iterator["Replay"]:
    monkeypatch.setenv("HF_ENDPOINT", playground.hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", playground.reader())
    root, ours = logging.getLogger(), logging.getLogger("flockoff")
    before = root.handlers[:], root.level, ours.level
    yield Replay(playground)
    root.handlers[:], root.level, ours.level = before


class Replay:
    """The command, as the validator's operator would give it."""

    def __init__(self, playground: Playground) -> None:
        self._playground = playground

    def __call__(self, data_dir: Path, *arguments: str) -> Result:
        folders = [
            *("--data_dir", str(data_dir), "--cache_dir", str(self._playground.directory / "cache")),
            *("--eval_data_dir", str(self._playground.eval_data_dir)),
        ]
        rules = ("--competition", str(self._playground.competition))
        return CliRunner().invoke(app, ["replay", *arguments, *folders, *rules, "--device", "cpu"])


def write_ledger(data_dir: Path, evaluation: Evaluation, like: Path) -> int:
    """A ledger, of the same validator as ``like``, with nothing but this evaluation; returns its id."""
    with Ledger.look(ledger_path(like)) as before:
        identity, epoch = before.identity(), before.epoch(evaluation.epoch)
    assert epoch is not None
    path = ledger_path(data_dir)
    with Ledger.open(path, netuid=identity.netuid, competition=identity.competition) as ledger:
        ledger.begin_epoch(epoch, [])
        return evaluate(ledger, evaluation)


def test_validators_with_their_own_pasts_measure_the_same_losses_bit_for_bit(data_dirs: list[Path]) -> None:
    first, second = (evaluations(folder) for folder in data_dirs)
    common = first.keys() & second.keys()
    assert len(first) == len(second) == PLACES
    assert common
    for content in common:
        one, other = first[content].evaluation, second[content].evaluation
        assert one.epoch == other.epoch
        assert one.measurement.provenance == other.measurement.provenance
        assert one.measurement.loss == other.measurement.loss
        assert one.measurement.row_nll == other.measurement.row_nll


def test_replay_of_a_stored_evaluation_agrees_bit_for_bit(data_dirs: list[Path], replay: Replay) -> None:
    listed = json.loads(replay(data_dirs[1], "--list", "--json").stdout)
    assert [each["id"] for each in listed] == [3, 2, 1]
    done = replay(data_dirs[1], str(listed[0]["id"]), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["agrees"], told["bit_for_bit"], told["differences"]) == (True, True, [])
    assert told["now"] == listed[0]["evaluation"]["measurement"]["loss"]


def test_replay_of_a_number_that_nobody_measured_does_not_agree(
    data_dirs: list[Path], replay: Replay, tmp_path: Path
) -> None:
    stored = next(iter(evaluations(data_dirs[1]).values())).evaluation
    measured = stored.measurement
    invented = replace(stored, measurement=replace(measured, loss=measured.loss * (1 - 1e-6)))
    done = replay(tmp_path, str(write_ledger(tmp_path, invented, data_dirs[1])))
    assert done.exit_code == 1
    assert "It does not agree: the loss is +1.0e-06 off" in done.stdout
    assert "the ledger's number is wrong" in done.stdout
    # The dataset was not in this data folder: it came from the hub.
    assert list((tmp_path / "datasets").glob("*")) == []


def test_replay_of_a_dataset_that_is_gone_says_so(
    data_dirs: list[Path], replay: Replay, tmp_path: Path
) -> None:
    stored = next(iter(evaluations(data_dirs[1]).values())).evaluation
    gone = replace(stored, model_id=ModelId("nobody/data", "f127", "0" * 40))
    done = replay(tmp_path, str(write_ledger(tmp_path, gone, data_dirs[1])))
    assert done.exit_code == 1
    assert "nobody/data" in done.stderr and "Traceback" not in done.stderr
