"""Rehearsals of a training: virtual participants, on the server's own rules.

    from backend.simulation import Experiment, save_results, simulate

Nothing here loads torch or Ray before a simulation is opened.
"""

from backend.simulation.course import RoundReport, Simulated, simulate
from backend.simulation.experiment import BadExperiment, Experiment, load_experiment
from backend.simulation.results import save_results

__all__ = [
    "BadExperiment",
    "Experiment",
    "RoundReport",
    "Simulated",
    "load_experiment",
    "save_results",
    "simulate",
]
