"""Tries to end the process."""

raise SystemExit(3)
