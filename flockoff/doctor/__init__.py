"""A new machine in one look: what it has, what it lacks, and what to do about it."""
