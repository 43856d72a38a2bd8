"""One simulated validator's knowledge of rows: real sketches, compared by the real rule."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flockoff.competition import Overlap
from flockoff.dataset import Borrowed, Claim, Holding, Owner, Sketch, Sketcher, borrowed
from flockoff.records import Row

_TOKENS_A_WORD = 1.3


@dataclass(slots=True)
class Library:
    """All datasets with rows that a validator has seen, and how their owners fared.

    ``public``: the competition's public sample.
    """

    key: bytes
    rules: Overlap
    public: tuple[Row, ...] = ()
    borrowed_shares: dict[str, float] = field(default_factory=dict)  # by content, as of the last lookup
    _holdings: dict[str, Holding] = field(default_factory=dict)  # by content
    _owners: dict[str, Owner] = field(default_factory=dict)  # by hotkey; each is a coldkey of its own
    _public_sketch: Sketch | None = None

    def see(self, claim: Claim, rows: tuple[Row, ...]) -> None:
        """Remember a commitment at first sight, whether it has a place in the epoch or not."""
        known = self._holdings.get(claim.content_hash)
        if known is None:
            known = Holding(claim, self._made(rows))
        if claim.seniority < known.claim.seniority:
            known = replace(known, claim=claim)
        self._holdings[claim.content_hash] = known

    def look(self, claim: Claim) -> Borrowed:
        """What of a dataset that was seen belongs to others."""
        if self.public and self._public_sketch is None:
            self._public_sketch = self._made(self.public)
        others = sorted(self._holdings.values(), key=lambda each: each.claim.seniority)
        sketch = self._holdings[claim.content_hash].sketch
        found = borrowed(sketch, claim, others, self.rules, self._public_sketch, self._owners)
        self.borrowed_shares[claim.content_hash] = found.share
        return found

    @property
    def owners(self) -> Mapping[str, Owner]:
        return self._owners

    def settled(
        self, judged: Iterable[str], win_rates: Mapping[str, float], witnesses: Mapping[str, str]
    ) -> None:
        """Remember an epoch's outcome. ``judged``: the hotkeys with a verdict that counts as evaluated."""
        for hotkey in judged:
            known = self._owners.get(hotkey) or Owner(hotkey, True, False, 0, None)
            rates = [rate for rate in (known.best_win_rate, win_rates.get(hotkey)) if rate is not None]
            self._owners[hotkey] = replace(
                known, evaluations=known.evaluations + 1, best_win_rate=max(rates, default=None)
            )
        for content, coldkey in witnesses.items():
            if content in self._holdings:
                self._holdings[content] = replace(self._holdings[content], witness=coldkey)

    def _made(self, rows: tuple[Row, ...]) -> Sketch:
        sketcher = Sketcher(self.key)
        for line, row in enumerate(rows, start=1):
            words = sum(len(turn.content.split()) for turn in row.turns if turn.role == "assistant")
            sketcher.add(line, row, round(words * _TOKENS_A_WORD))
        return sketcher.sketch()
