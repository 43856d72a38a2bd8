import pytest

from flockoff.errors import UsageError
from flockoff.training.environment import scrubbed_environment

SECRETS = {
    "HF_TOKEN": "hf_x",
    "HUGGING_FACE_HUB_TOKEN": "hf_x",
    "BT_WALLET_NAME": "miner",
    "WALLET_PASSWORD": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "HF_ENDPOINT": "http://127.0.0.1:1",
}


def test_environment_secrets_are_left_out() -> None:
    child = scrubbed_environment({"PATH": "/bin", "LC_ALL": "C", **SECRETS})
    assert child["PATH"] == "/bin" and child["LC_ALL"] == "C"
    assert not set(SECRETS) & set(child)
    assert child["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cpu", None, ""),
        ("cpu", "0,1", ""),
        (None, None, "0"),
        ("cuda", None, "0"),
        ("cuda:2", None, "2"),
        ("cuda:1", "5,7", "7"),
        (None, "GPU-a,GPU-b", "GPU-a"),
        ("cuda:2", "5,7", ""),
        ("cuda", "", ""),
    ],
)
def test_environment_shows_one_device(device: str | None, visible: str | None, expected: str) -> None:
    parent = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert scrubbed_environment(parent, device)["CUDA_VISIBLE_DEVICES"] == expected


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", ""])
def test_environment_unknown_device_is_a_usage_error(device: str) -> None:
    with pytest.raises(UsageError, match="Unknown device"):
        scrubbed_environment({}, device)
