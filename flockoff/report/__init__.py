"""What a validator's ledger shows, as one self-contained HTML page: in a file, or on loopback."""

from flockoff.report.dashboard import dashboard
from flockoff.report.files import kept_fresh, report_numbers, write_report

__all__ = ["dashboard", "kept_fresh", "report_numbers", "write_report"]
