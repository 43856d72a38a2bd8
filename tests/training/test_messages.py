import pytest
from hypothesis import given
from hypothesis import strategies as st

from flockoff.competition import BaseModel, Competition, EvaluationSet, Limits, Lora, Training
from flockoff.errors import EvaluationFault, FlockoffError, MinerFault, Reason, SetupError
from flockoff.records import ComputeDevice, Influence, Measurement, Precision, Progress, Provenance
from flockoff.training.messages import (
    Alive,
    Assignment,
    Ready,
    Reply,
    Request,
    WorkerFault,
    decode_assignment,
    decode_reply,
    decode_request,
    encode_assignment,
    encode_reply,
    encode_request,
)

DEVICE = ComputeDevice("cuda X")
PRECISION = Precision("bfloat16", "bfloat16", 16384, ("dropout", "gate"))
PROVENANCE = Provenance("0.1.0", {"torch": "2"}, DEVICE, PRECISION, "a/b@c", "f" * 64, 2**32 - 1)


@given(loss=st.floats(allow_nan=False, allow_infinity=False))
def test_messages_measurement_arrives_to_the_last_bit(loss: float) -> None:
    sent = Measurement(loss, 10, 3, 100, 2, 0.1, PROVENANCE, (loss, -loss), loss)
    assert decode_reply(encode_reply(sent)) == sent


@pytest.mark.parametrize(
    "reply",
    [
        Ready(DEVICE, ("dropout",), ("gate: slow",), 0.5),
        Ready(ComputeDevice("cpu x86_64", 8)),
        Alive(2**33, 2**34),
        Progress("training", 1, 2, 0.5),
        Influence((0.1, -1e-30, 3.0)),
    ],
)
def test_messages_reply_arrives(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize(
    "error",
    [
        MinerFault(Reason.LOSS_NOT_FINITE, "what", remedy="do"),
        SetupError("zwölf\n<|im_end|>", remedy="do"),
        EvaluationFault("what"),
        WorkerFault("memory", "what", remedy="do"),
    ],
)
def test_messages_error_keeps_its_kind_and_texts(error: FlockoffError) -> None:
    line = encode_reply(error)
    decoded = decode_reply(line)
    assert "\n" not in line
    assert type(decoded) is type(error)
    assert vars(decoded) == vars(error)


def test_messages_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown reply"):
        decode_reply('{"kind": "greeting"}')


def test_messages_assignment_keeps_every_rule_that_training_reads() -> None:
    competition = Competition(
        id="small",
        base_model=BaseModel(package="p", gguf_file="f.gguf", gguf_sha256="a" * 64),
        lora=Lora(rank=2, alpha=3, dropout=0.25),
        training=Training(batch_size=3, learning_rate=1e-3),
        evaluation=EvaluationSet(sha256="b" * 64, rows=5),
        limits=Limits(max_rows=9),
    )
    sent = Assignment(competition, "/m", "/e", None, 2)
    assert decode_assignment(encode_assignment(sent)) == sent


def test_messages_request_arrives() -> None:
    for sent in (Request(), Request("/d", 7)):
        assert decode_request(encode_request(sent)) == sent
