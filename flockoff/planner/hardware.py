"""Peak figures of GPUs, as stated by the vendor.

``bfloat16``: dense matrix products in bfloat16, accumulated in float32, TFLOP/s (10^12). Headline figures are
often four times that: with sparsity, and accumulated in float16. ``float32``: products in float32 without
TF32. ``memory``: GiB. All at the reference design's boost clock.
"""

from dataclasses import dataclass

from flockoff.errors import UsageError

AMPERE = "NVIDIA, Ampere GA102 GPU Architecture whitepaper (RTX 3060: its tensor cores at its clock)"
ADA = "NVIDIA, Ada GPU Architecture whitepaper, appendix A"
BLACKWELL = "NVIDIA, RTX Blackwell GPU Architecture whitepaper, appendix A"


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    bfloat16: float  # TFLOP/s
    float32: float  # TFLOP/s
    memory: float  # GiB
    source: str


GPUS = (
    Gpu("3060", 25.5, 12.7, 12, AMPERE),
    Gpu("3090", 71.2, 35.6, 24, AMPERE),
    Gpu("A6000", 154.8, 38.7, 48, "NVIDIA, RTX A6000 datasheet (half of the figure with sparsity)"),
    Gpu("4080", 97.5, 48.7, 16, ADA),
    Gpu("4090", 165.2, 82.6, 24, ADA),
    Gpu("5080", 112.6, 56.3, 16, BLACKWELL),
    Gpu("5090", 209.5, 104.8, 32, BLACKWELL),
    Gpu("L4", 121.0, 30.3, 24, "NVIDIA, L4 datasheet (half of the figure with sparsity)"),
    Gpu("L40S", 362.0, 91.6, 48, "NVIDIA, L40S datasheet"),
    Gpu("A100", 312.0, 19.5, 80, "NVIDIA, A100 80GB datasheet"),
    Gpu("H100", 989.4, 66.9, 80, "NVIDIA, H100 SXM datasheet (half of the figure with sparsity)"),
    Gpu("H200", 989.4, 66.9, 141, "NVIDIA, H200 SXM datasheet (half of the figure with sparsity)"),
)


def find_gpu(name: str) -> Gpu:
    """The GPU of that name in any spelling: 4090, rtx4090, "RTX 4090". Raises UsageError."""
    plain = name.lower().replace("nvidia", "").replace("geforce", "").replace("rtx", "").strip(" -_")
    for gpu in GPUS:
        if gpu.name.lower() == plain:
            return gpu
    raise UsageError(
        f"Unknown GPU {name!r}.",
        remedy=f"Known: {', '.join(gpu.name for gpu in GPUS)}. For any other, give --tflops and --memory.",
    )
