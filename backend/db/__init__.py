"""Piccolo tables, migrations and the engine."""
