"""Trainings: what the actor asks for, who takes part, how it stands."""
