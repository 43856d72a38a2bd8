"""The real miner and validator with hostile texts and secrets: what they show and leave behind.

One run of each with everything on: a commitment, a dataset and hub messages full of terminal sequences,
forged lines and right-to-left overrides; a hub that repeats the token it was sent; a node's address that
holds a key; coldkeys that nothing can unlock; passwords in the environment.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flockoff.chain import WalletRef
from flockoff.cli import main
from flockoff.hub import HubClient
from flockoff.ledger import Ledger
from flockoff.localnet.hub.script import answer
from flockoff.openers import ledger_path
from flockoff.records import ModelId, Verdict
from neurons import miner
from tests.support.forked import TIMEOUT_SECONDS, Outcome, run_forked
from tests.support.playground import Playground, running_playground, start
from tests.support.tiny_model import row

EVENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +\S")
BAR = "    | "
HOSTILE = "\x1b]0;owned\x07\x1b[2J\n2026-01-01 00:00:00,000 INFO    all is well\u202e\u2028[red]"
HOSTILE_HEADER = "news; \x9b2J\x9b31m[red] is the new green"
NODE_KEY = "node-key-5f0c1d2e"
PASSWORD = "wallet-password-77aa"
UNRELATED = "database-password-93bd"
GOOD = [row(f"What is {n}?", "It is " + "so " * n + "and no more.") for n in range(6, 14)]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Seen:
    """What the programs said, what the validator judged, and how its worker looks to others of this user."""

    mined: Outcome
    refused: Outcome  # the same miner, where the hub says no in hostile words
    checked: Outcome  # ``flockoff check`` of the hostile dataset
    checked_json: Outcome
    validated: Outcome
    secrets: frozenset[str]
    verdicts: tuple[Verdict, ...]
    worker: dict[str, str]  # its environment
    worker_command: str

    @property
    def said(self) -> str:
        outcomes = (self.mined, self.refused, self.checked, self.checked_json, self.validated)
        return "".join(outcome.said for outcome in outcomes)


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory, isolated_home: None) -> Iterator[Playground]:
    with running_playground(tmp_path_factory.mktemp("playground"), miners=3) as playground:
        for wallet in (*playground.subnet.miners, *playground.subnet.validators):
            lock_coldkey(wallet)
        (playground.directory / "home").mkdir()
        yield playground


def lock_coldkey(wallet: WalletRef) -> None:
    """The beginning of a locked key: whoever tries to use it is asked for a password, and fails."""
    (wallet.path / wallet.name / "coldkey").write_bytes(b"$NACL" + bytes(64))


@pytest.fixture(scope="module")
def seen(playground: Playground) -> Seen:
    token, reader = playground.hub.add_user("miner1"), playground.reader()
    environment = secret_environment(playground, token)
    mine = [*playground.miner_arguments(0, GOOD, "data"), *more_flags(playground)]
    playground.hub.faults.add("GET", "/api/datasets/miner1/data", answer(400, *hostile_refusal(token)))
    refused = run_forked(miner.main, mine, environment)
    mined = run_forked(miner.main, mine, environment)
    commit_text(playground, 1, HOSTILE)
    file = playground.directory / "hostile-\x1b[2J.jsonl"
    file.write_bytes(hostile_dataset())
    submit_unchecked(playground, 2, file)
    check = [str(file), "--competition", str(playground.competition)]
    check += ["--cache-dir", str(playground.directory / "cache")]
    playground.next_epoch()
    validated, worker, worker_command = watched_validator(playground, secret_environment(playground, reader))
    return Seen(
        mined=mined,
        refused=refused,
        checked=run_forked(flockoff, ["check", *check], environment),
        checked_json=run_forked(flockoff, ["check", "--json", *check], environment),
        validated=validated,
        secrets=frozenset({token, reader, NODE_KEY, PASSWORD, UNRELATED}),
        verdicts=verdicts_of(playground),
        worker=worker,
        worker_command=worker_command,
    )


def flockoff(_arguments: Sequence[str]) -> None:
    main()  # which reads them itself


def secret_environment(playground: Playground, token: str) -> dict[str, str]:
    return playground.environment(token) | {
        "HOME": str(playground.directory / "home"),
        "BT_PW_WALLET": PASSWORD,
        "BT_WALLET_PASSWORD": PASSWORD,
        "DATABASE_URL": UNRELATED,
    }


def more_flags(playground: Playground) -> list[str]:
    return [
        *("--subtensor.chain_endpoint", f"{playground.node.endpoint}/?apikey={NODE_KEY}"),
        *("--logging.trace", "--logging.logging_dir", str(playground.directory / "logs")),
    ]


def hostile_refusal(token: str) -> tuple[bytes, dict[str, str]]:
    message = HOSTILE.replace("\n", f" {token} ")
    return json.dumps({"error": message}).encode(), {"X-HF-Warning": HOSTILE_HEADER}


def commit_text(playground: Playground, number: int, text: str) -> None:
    with closing(playground.chain(playground.subnet.miners[number])) as chain:
        chain.commit(text)


def hostile_dataset() -> bytes:
    """Once with the control characters spelled as JSON wants it, once raw."""
    row = {"system": None, "conversations": [{"role": HOSTILE, "content": "a"}], HOSTILE: 1}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n\x1b[2J\x07\n"


def submit_unchecked(playground: Playground, number: int, file: Path) -> None:
    """What the miner would refuse to send, sent all the same."""
    name = playground.subnet.miners[number].name
    hub = HubClient(playground.hub.add_user(name), playground.hub.endpoint)
    commit = hub.upload(f"{name}/data", file).commit
    hub.publish(f"{name}/data")
    commit_text(playground, number, str(ModelId(f"{name}/data", "f127", commit)))


def watched_validator(
    playground: Playground, environment: dict[str, str]
) -> tuple[Outcome, dict[str, str], str]:
    """Run the validator for an epoch, and look at its worker while it trains."""
    arguments = [*playground.validator_arguments(playground.directory / "data"), *more_flags(playground)]
    with start("neurons/validator.py", [*arguments, "--epochs", "1"], environment) as process:
        assert process.stdout is not None
        said = ""
        with playground.download_held(2):
            while "training on" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            children = psutil.Process(process.pid).children(recursive=True)
            [worker] = [child for child in children if "flockoff.training.worker" in child.cmdline()]
            worker_environment, command = worker.environ(), " ".join(worker.cmdline())
        rest, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    return Outcome(process.returncode, said + rest), worker_environment, command


def verdicts_of(playground: Playground) -> tuple[Verdict, ...]:
    path = ledger_path(playground.directory / "data")
    with Ledger.open(path, netuid=playground.subnet.netuid, competition="f127", read_only=True) as ledger:
        weights = ledger.last_weights()
        assert weights is not None
        return tuple(ledger.verdicts(weights.epoch))


def test_programs_do_their_work_without_any_key_but_the_hotkey(seen: Seen) -> None:
    assert seen.mined.status == 0, seen.mined.said
    assert seen.validated.status == 0, seen.validated.said
    assert [verdict.standing for verdict in seen.verdicts] == ["eligible", "at_fault", "at_fault"]


def test_programs_meet_the_hostile_texts(seen: Seen) -> None:
    assert seen.refused.status == 1
    assert r"\x1b]0;owned\x07" in seen.refused.said
    assert r"\x9b2J\x9b31m[red] is the new green" in seen.refused.said
    assert seen.validated.said.count("(commitment_malformed)") == 1
    assert [verdict.model_id for verdict in seen.verdicts if verdict.uid == 2] == [HOSTILE]
    assert "at fault (" in seen.validated.said
    assert "in 2 rows" in seen.checked.said
    assert json.loads(seen.checked_json.said)["problems"]


def test_programs_show_printable_text_only(seen: Seen) -> None:
    assert [line for line in seen.said.split("\n") if not line.isprintable()] == []


def test_programs_logs_have_no_line_that_is_no_event(seen: Seen, playground: Playground) -> None:
    logs = [path.read_text(encoding="utf-8") for path in (playground.directory / "logs").iterdir()]
    assert len(logs) == 2
    for text in (*logs, seen.mined.said, seen.refused.said, seen.validated.said):
        lines = text.splitlines()
        assert [line for line in lines if not (EVENT.match(line) or line.startswith(BAR))] == []


def test_programs_never_say_a_secret(seen: Seen) -> None:
    assert "***" in seen.refused.said  # where the hub repeats the token
    assert [secret for secret in seen.secrets if secret in seen.said] == []


def test_programs_never_write_a_secret(seen: Seen, playground: Playground) -> None:
    for name in ("data", "cache", "logs", "home"):
        files = [path for path in (playground.directory / name).rglob("*") if path.is_file()]
        assert files or name == "home"
        for path in files:
            content = path.read_bytes()
            assert [secret for secret in seen.secrets if secret.encode() in content] == [], path


def test_worker_is_given_no_secret(seen: Seen, playground: Playground) -> None:
    environment = json.dumps(seen.worker)
    for secret in (*seen.secrets, str(playground.subnet.wallet_path), playground.hub.endpoint):
        assert secret not in environment
        assert secret not in seen.worker_command
    assert not [name for name in seen.worker if name.startswith(("BT_", "HF_TOKEN", "HF_ENDPOINT"))]
