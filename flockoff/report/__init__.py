"""A report on a validator's ledger: one self-contained HTML page, in a file or served on loopback."""

from flockoff.report.dashboard import dashboard
from flockoff.report.files import kept_fresh, report_numbers, write_report

__all__ = ["dashboard", "kept_fresh", "report_numbers", "write_report"]
