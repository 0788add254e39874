"""Rehearsals of a training: virtual participants, on the server's own rules.

    from backend.simulation import Experiment, simulate

Nothing here loads torch or Ray before a simulation is opened.
"""

from backend.simulation.course import RoundReport, Simulated, simulate
from backend.simulation.experiment import BadExperiment, Experiment, load_experiment

__all__ = [
    "BadExperiment",
    "Experiment",
    "RoundReport",
    "Simulated",
    "load_experiment",
    "simulate",
]
