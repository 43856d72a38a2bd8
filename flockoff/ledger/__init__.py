"""A validator's memory: one SQLite file per validator and competition. The only importer of sqlite3."""

from flockoff.ledger.ledger import Ledger
from flockoff.ledger.rows import LeaderboardRow, LedgerIdentity, StoredEvaluation

__all__ = ["LeaderboardRow", "Ledger", "LedgerIdentity", "StoredEvaluation"]
