"""Estimates of evaluations' time and memory, without heavy libraries."""
