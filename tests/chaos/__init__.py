"""Seeded chaos: real trainings during which things are killed, and what must hold afterwards."""
