"""The public sample: downloaded like an evaluation set, and nobody's from then on."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flockoff.competition import Competition, Overlap, PublicSample
from flockoff.errors import SetupError
from flockoff.openers import open_public_sample
from tests.support.hub_users import Owner
from tests.support.near_copies import KEY, conversations, matched, sketch_of
from tests.support.toy_encoder import CharacterEncoder

ROWS = conversations()[:20]


@pytest.fixture
def competition(alice: Owner) -> Competition:
    """One that names a public sample."""
    lines = [
        {"conversations": [{"role": turn.role, "content": turn.content} for turn in row.turns]}
        for row in ROWS
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    commit = alice.upload(content, private=False)
    public = PublicSample(repo=alice.repo, commit=commit, sha256=hashlib.sha256(content).hexdigest())
    return Competition(overlap=Overlap(public=public))


def test_public_sample_is_fetched_and_sketched_under_the_ledgers_key(
    alice: Owner, competition: Competition, tmp_path: Path
) -> None:
    public = open_public_sample(competition, alice.client, tmp_path, CharacterEncoder(), KEY)
    assert public is not None
    mine = sketch_of(ROWS)
    assert {answer.line for answer in matched(mine, public)} == {*mine.lines.tolist()}


def test_public_sample_that_is_not_the_pinned_one_is_refused(
    alice: Owner, competition: Competition, tmp_path: Path
) -> None:
    named = competition.overlap.public
    assert named is not None
    other = replace(competition, overlap=Overlap(public=replace(named, sha256="0" * 64)))
    with pytest.raises(SetupError, match="not the competition's public sample"):
        open_public_sample(other, alice.client, tmp_path, CharacterEncoder(), KEY)


def test_public_sample_of_a_competition_without_one_is_none(alice: Owner, tmp_path: Path) -> None:
    assert open_public_sample(Competition(), alice.client, tmp_path, CharacterEncoder(), KEY) is None
