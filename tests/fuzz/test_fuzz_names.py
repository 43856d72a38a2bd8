"""Nearly valid names from outside: those accepted are harmless wherever they are used."""

import string
from urllib.parse import quote

import pytest
from huggingface_hub.utils._validators import validate_repo_id
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flockoff.competition import Competition
from flockoff.errors import MinerFault, Reason, UsageError
from flockoff.records import MAX_COMMITMENT_BYTES, ModelId, is_repo_id
from flockoff.text import printable
from tests.support.examples import examples

MANY = settings(max_examples=examples(400))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HARMLESS = frozenset(string.ascii_letters + string.digits + "._-")
# What ends names, paths, lines, markup and statements, or only looks like a letter, digit or dash.
HOSTILE = (
    *("..", "../", "/", "\\", "\0", "\n", "\r\n", "\x1b[2J", " ", "\u00a0", "\u200b", "\u202e", "\ufeff"),
    *("%2e%2e", "%00", "?", "#", "@", ":", "://", "~", "$HOME", "`id`", "'; DROP", '"', "<b>", "&lt;", "{0}"),
    *("é", "\u0430", "\uff41", "\u0660", "\u00b2", "\uff0e", "\u2010", "\u2024", "İ", "\ud800", "😀", ".git"),
)
PIECES = st.sampled_from(("a", "Z9", "my-data", "x_1", "v1.2", "-", ".", "_", "f127", COMMIT, *HOSTILE))
NEARLY = st.lists(PIECES, max_size=7).map("".join)
NAMES = st.one_of(st.builds("{}/{}".format, NEARLY, NEARLY), NEARLY, st.text(max_size=120))


@MANY
@given(NAMES)
def test_repo_id_whatever_gets_through_is_two_harmless_names_that_the_hub_client_takes(text: str) -> None:
    if not is_repo_id(text):
        return
    parts = text.split("/")
    assert len(parts) == 2 and set("".join(parts)) <= HARMLESS
    assert all(part and part.strip("-.") == part and ".." not in part for part in parts)
    assert quote(text) == text and printable(text, 96) == text
    validate_repo_id(text)


@pytest.mark.parametrize("place", ["{0}/b", "a/{0}", "a{0}/b", "a/{0}b", "a/b{0}", "{0}a/b", "a{0}b/c"])
def test_repo_id_with_hostile_text_anywhere_is_refused(place: str) -> None:
    texts = [place.replace("{0}", hostile) for hostile in HOSTILE[:-1]]
    assert [text for text in texts if is_repo_id(text)] == []


@MANY
@given(st.one_of(st.builds("{}:{}:{}".format, NAMES, NEARLY, st.one_of(NEARLY, st.just(COMMIT))), NEARLY))
@example(f"a/b:f127:{COMMIT}\n")
@example(f"a/b\u2028:f127:{COMMIT}")
@example(f"a/b:f127:{COMMIT[:-1]}\u0660")
@example("\x1b[2J\u202e" * 40)
def test_model_id_nearly_right_is_harmless_or_the_miners_fault_in_printable_words(text: str) -> None:
    try:
        model_id = ModelId.parse(text)
    except MinerFault as fault:
        assert fault.reason is Reason.COMMITMENT_MALFORMED
        assert fault.message.isprintable()
        return
    assert str(model_id) == text and len(text.encode()) <= MAX_COMMITMENT_BYTES
    assert set(text) <= HARMLESS | {"/", ":"}
    assert set(model_id.commit) <= set("0123456789abcdef") and len(model_id.commit) == 40


@MANY
@given(st.one_of(NEARLY, st.text(max_size=40)))
def test_competition_id_whatever_gets_through_makes_a_model_id(text: str) -> None:
    try:
        competition = Competition(id=text)
    except UsageError:
        with pytest.raises(MinerFault):
            ModelId("a/b", text, COMMIT)
        return
    assert set(competition.id) <= HARMLESS
    assert ModelId.parse(f"a/b:{competition.id}:{COMMIT}").competition_id == text
