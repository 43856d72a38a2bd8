"""neurons/validator.py with a sealed evaluation set: downloaded with its token, counted, not disclosed."""

from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from flockoff.errors import Reason
from flockoff.ledger import Ledger
from flockoff.openers import ledger_path
from tests.support.playground import Playground
from tests.support.tiny_model import row, write_dataset

pytestmark = pytest.mark.slow

WEIGHT = 0.4
ANSWER = "Seven grey herons stood without a sound in the shallow evening water, and one of them slept."
GOOD = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(6, 14)]
STOLEN = [*GOOD[:5], *(row(f"What of the herons ({n})?", ANSWER) for n in range(3))]


@pytest.fixture
def sealing(playground: Playground, tmp_path: Path) -> Playground:
    """The playground under a competition with a sealed set, which the validator's account may read."""
    file = tmp_path / "sealed.jsonl"
    write_dataset(file, [row("What do the herons do?", ANSWER)])
    api = HfApi(playground.hub.endpoint, token=playground.hub.add_user("validator"))
    api.create_repo("validator/sealed", repo_type="dataset", private=True)
    commit = api.upload_file(
        path_or_fileobj=file.read_bytes(),
        path_in_repo="data.jsonl",
        repo_id="validator/sealed",
        repo_type="dataset",
    ).oid
    competition = tmp_path / "sealed.toml"
    competition.write_text(
        playground.competition.read_text(encoding="utf-8")
        + f'[sealed]\nrepo = "validator/sealed"\ncommit = "{commit}"\n'
        f'sha256 = "{sha256(file.read_bytes()).hexdigest()}"\nweight = {WEIGHT}\n'
        # One sealed row about something else: what it says of a gain is nothing that a verdict could rest on.
        "gap_allowance = 100.0\n",
        encoding="utf-8",
    )
    return replace(playground, competition=competition)


def test_validator_counts_the_sealed_set_and_finds_its_answers(sealing: Playground, tmp_path: Path) -> None:
    for number, rows in enumerate((GOOD, STOLEN)):
        outcome = sealing.mine(number, rows)  # whose token may not read the sealed set, and need not
        assert outcome.status == 0, outcome.said
    sealing.next_epoch()
    outcome = sealing.validate(tmp_path, "--epochs", "1")
    assert outcome.status == 0, outcome.said
    with closing(sealing.chain(None)) as chain:
        epoch = chain.epoch_status().start_block
    path = ledger_path(tmp_path)
    with Ledger.open(path, netuid=sealing.subnet.netuid, competition="f127", read_only=True) as ledger:
        base = ledger.base_loss()
        verdicts = {verdict.model_id.split("/")[0]: verdict for verdict in ledger.verdicts(epoch)}
        [evaluation] = ledger.evaluations(epoch)
    assert base is not None and base.sealed_loss is not None
    assert evaluation.measurement.sealed_loss is not None
    assert evaluation.measurement.loss == verdicts["miner1"].loss
    assert f" + {WEIGHT} sealed " in evaluation.measurement.provenance.evaluation_set
    assert verdicts["miner2"].reason is Reason.CONTAMINATED
    assert "3 of 8 rows" in verdicts["miner2"].detail
    assert "heron" not in outcome.said + verdicts["miner2"].detail
