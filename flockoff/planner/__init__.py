"""How long evaluations take and what they need: counted, never measured here, and without heavy libraries."""
