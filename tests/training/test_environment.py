import sys
from pathlib import Path

import pytest

from flockoff.errors import UsageError
from flockoff.training.environment import scrubbed_environment
from flockoff.training.examination import lacks_for_kernels

pytestmark = pytest.mark.slow

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
        ("cuda:1", "5, 7", "7"),
        ("cuda:1", "5,-1,7", ""),
    ],
)
def test_environment_shows_one_device(device: str | None, visible: str | None, expected: str) -> None:
    parent = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert scrubbed_environment(parent, device)["CUDA_VISIBLE_DEVICES"] == expected


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", ""])
def test_environment_unknown_device_is_a_usage_error(device: str) -> None:
    with pytest.raises(UsageError, match="Unknown device"):
        scrubbed_environment({}, device)


def test_environment_cards_are_numbered_as_nvidia_smi_does_and_their_memory_can_grow() -> None:
    child = scrubbed_environment({})
    assert child["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    if sys.platform == "linux":
        assert child["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    given = scrubbed_environment({"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "PYTORCH_CUDA_ALLOC_CONF": "x:1"})
    assert given["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST" and "PYTORCH_ALLOC_CONF" not in given


def test_environment_kernels_want_triton_and_a_compiler(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    assert lacks_for_kernels({"PATH": str(tmp_path)}) == "a C compiler (clang or gcc)"
    assert lacks_for_kernels({"PATH": str(tmp_path), "CC": "tcc"}) == "a C compiler (tcc)"
    (tmp_path / "gcc").touch(0o755)
    assert lacks_for_kernels({"PATH": str(tmp_path)}) is None
