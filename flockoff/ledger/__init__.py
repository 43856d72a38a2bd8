"""A validator's memory: one SQLite file per validator and competition. The only importer of sqlite3."""

from flockoff.ledger.rows import LedgerIdentity
from flockoff.ledger.store import Ledger
from flockoff.ledger.views import Result, StoredEvaluation

__all__ = ["Ledger", "LedgerIdentity", "Result", "StoredEvaluation"]
