"""How long evaluations take and what they need: calculated, not measured, and without heavy libraries."""
