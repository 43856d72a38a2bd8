"""Checks a machine: what it has, what it lacks, and what to do about it."""
