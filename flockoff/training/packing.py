"""Rows packed into one flat pass without padding; each row attends only to itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from flockoff.records import EncodedRow

ATTENTION = "flockoff_rows"  # the name under which transformers knows ``row_attention``
_FLASH_CAPABILITY = (8, 0)  # Ampere: required by ``varlen_attn``


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows of ``lengths`` tokens, ``n`` in all, with ``m`` assistant tokens to predict."""

    lengths: tuple[int, ...]
    ends: torch.Tensor  # (rows + 1,) int32: 0, and where each row ends
    input_ids: torch.Tensor  # (1, n)
    positions: torch.Tensor  # (1, n): each token's index in its row
    places: torch.Tensor  # (m,): of the states that predict the targets
    targets: torch.Tensor  # (m,): assistant tokens
    row_of: torch.Tensor  # (m,): each target's row


def pack(rows: Sequence[EncodedRow], device: torch.device) -> Pack:
    """Pack the rows in order. A row's first token is predicted by nothing and never counts."""
    lengths = tuple(len(row.input_ids) for row in rows)
    ends = [0, *accumulate(lengths)]
    counted = [
        (number, ends[number] + place)
        for number, row in enumerate(rows)
        for place in range(1, len(row.input_ids))
        if row.assistant[place]
    ]
    input_ids = torch.tensor([token for row in rows for token in row.input_ids])
    row_of, places = torch.tensor(counted, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Pack(
        lengths=lengths,
        ends=torch.tensor(ends, dtype=torch.int32, device=device),
        input_ids=input_ids[None].to(device),
        positions=torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        places=(places - 1).to(device),
        targets=input_ids[places].to(device),
        row_of=row_of.to(device),
    )


def passes(lengths: Sequence[int], most: int) -> list[range]:
    """Consecutive rows in groups of at most ``most`` tokens; a longer row is a group of its own."""
    groups: list[range] = []
    tokens = 0
    for number, length in enumerate(lengths):
        if groups and tokens + length <= most:
            groups[-1] = range(groups[-1].start, number + 1)
            tokens += length
        else:
            groups.append(range(number, number + 1))
            tokens = length
    return groups


def balanced_passes(lengths: Sequence[int], most: int) -> list[range]:
    """As many groups as ``passes`` makes, with the largest as small as possible."""
    least, enough = max(lengths, default=0), most
    count = len(passes(lengths, most))
    while least < enough:  # the smallest bound that needs no more groups
        middle = (least + enough) // 2
        if len(passes(lengths, middle)) <= count:
            enough = middle
        else:
            least = middle + 1
    return passes(lengths, enough)


def register_attention() -> None:
    """Register ``row_attention`` with transformers, which builds no mask for an attention it does not
    know."""
    AttentionInterface.register(ATTENTION, row_attention)


def row_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    rows: Pack | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row. ``query``: (1, heads, n, width), keys and values with fewer heads.

    Returns (1, n, heads, width). Without ``rows``, each batch entry is one row, as in transformers.
    """
    # rotation is in float32; on CPU, attention is several times slower in anything else
    exact = torch.float32 if value.device.type == "cpu" else value.dtype
    query, key, value = query.to(exact), key.to(exact), value.to(exact)
    if rows is None:
        return _attention(query, key, value, scaling).transpose(1, 2), None
    if _has_flash(value):
        return _flash_attention(query, key, value, rows, scaling), None
    queries, keys, values = (torch.split(tensor, list(rows.lengths), dim=2) for tensor in (query, key, value))
    attended = [_attention(*row, scaling).transpose(1, 2) for row in zip(queries, keys, values, strict=True)]
    return torch.cat(attended, dim=1), None


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    return functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=True
    )


def _has_flash(value: torch.Tensor) -> bool:
    return (
        value.is_cuda
        and value.dtype == torch.bfloat16
        and torch.cuda.get_device_capability(value.device) >= _FLASH_CAPABILITY
    )


def _flash_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Pack, scaling: float
) -> torch.Tensor:
    """All rows in one kernel: flash, since cuDNN's backward pass is not deterministic (pytorch#182551)."""
    longest = max(rows.lengths)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attended = varlen_attn(
            query.squeeze(0).transpose(0, 1).contiguous(),
            key.squeeze(0).transpose(0, 1).contiguous(),
            value.squeeze(0).transpose(0, 1).contiguous(),
            rows.ends,
            rows.ends,
            longest,
            longest,
            scale=scaling,
            window_size=(-1, 0),  # causal
            enable_gqa=True,
        )
    assert isinstance(attended, torch.Tensor)
    return attended[None]
