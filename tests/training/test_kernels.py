"""The GPU kernels, without a GPU: interpreted and compared with the plain path, compiled for each kind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from flockoff.training import kernels

pytestmark = pytest.mark.slow

LAYER = {"rows": "*i32", "places": "*i32", "law": "*i64", "layer": "i32", "tokens": "i32", "scale": "fp32"}
QWEN = {"WIDTH": 8960, "RANK": 16, "RANKS": 16}
BF16 = "*bf16"
SOURCES = [
    (
        kernels.inner_kernel,
        LAYER | dict.fromkeys(("x", "down", "inner"), BF16),
        {"TOKENS": 16, "COLUMNS": 128},
    ),
    (
        kernels.of_input_kernel,
        LAYER | dict.fromkeys(("of_inner", "down", "of_x"), BF16),
        {"TOKENS": 32, "COLUMNS": 128},
    ),
    (
        kernels.of_down_kernel,
        LAYER | dict.fromkeys(("x", "of_inner"), BF16) | {"of_down": "*fp32"},
        {"TOKENS": 64, "COLUMNS": 32},
    ),
    (kernels.gate_kernel, dict.fromkeys(("gate", "up", "product"), BF16) | {"count": "i32"}, {"BLOCK": 1024}),
    (
        kernels.gate_backward_kernel,
        dict.fromkeys(("of_product", "gate", "up", "of_gate", "of_up"), BF16) | {"count": "i32"},
        {"BLOCK": 1024},
    ),
]


def test_kernels_interpreted_agree_with_the_plain_path(model_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kernel_cases", str(model_dir)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("masks") is True
    assert found and all(apart < 1e-4 for apart in found.values()), found


@pytest.mark.filterwarnings("ignore:.*TRITON_DEFAULT_FP_FUSION.*")
@pytest.mark.parametrize("capability", [86, 89, 90, 120])
def test_kernels_compile_ahead_of_time(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for kernel, types, blocks in SOURCES:
        constants = blocks if "BLOCK" in blocks else QWEN | blocks
        names = kernel.arg_names
        source = ASTSource(
            fn=kernel,
            signature={name: types.get(name, "constexpr") for name in names},
            constexprs=constants,
            attrs={
                (place,): [["tt.divisibility", 16]]
                for place, name in enumerate(names)
                if types.get(name, "").startswith("*")
            },
        )
        compiled = compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
        assert compiled.asm["cubin"]
        assert compiled.metadata.shared <= 48 * 1024  # what every card has for a block
