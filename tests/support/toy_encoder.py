"""A row encoder whose tokens can be counted by hand: a mark before each turn, then one token a character."""

from collections.abc import Sequence

from flockoff.errors import MinerFault, Reason
from flockoff.records import EncodedRow, Row

SPECIAL_TOKENS = frozenset({"<|begin|>", "<|end|>", "<|end|>of"})


class CharacterEncoder:
    """One token for a turn's mark and one for each character; the assistant's characters count in the loss.

    Rows with ``unwelcome`` in a turn are refused, as an encoder refuses what its template cannot hold.
    """

    def __init__(self, context_length: int = 100, unwelcome: str | None = None) -> None:
        self.special_tokens = SPECIAL_TOKENS
        self.context_length = context_length
        self.unwelcome = unwelcome
        self.batches: list[int] = []

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        self.batches.append(len(rows))
        return [self._encode(row) for row in rows]

    def _encode(self, row: Row) -> EncodedRow:
        ids = [0, *map(ord, row.system or "")]
        assistant = [False] * len(ids)
        for turn in row.turns:
            if self.unwelcome is not None and self.unwelcome in turn.content:
                raise MinerFault(Reason.SPECIAL_TOKEN, f"A turn holds {self.unwelcome}.")
            ids += [0, *map(ord, turn.content)]
            assistant += [False] + [turn.role == "assistant"] * len(turn.content)
        cut_at = self.context_length if len(ids) > self.context_length else None
        return EncodedRow(tuple(ids[:cut_at]), tuple(assistant[:cut_at]), cut_at)
