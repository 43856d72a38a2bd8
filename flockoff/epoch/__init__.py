"""An epoch's decisions: pure functions from facts to frozen records, no I/O (see README.md)."""
