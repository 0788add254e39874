"""Have sites train together, as their actor: actor.py ROUNDS USERNAME USERNAME."""

import sys

import torch
from starling_client import Starling
from torch import nn

rounds, participants = int(sys.argv[1]), sys.argv[2:]
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
with Starling() as starling:
    model = starling.models.create(network, name="Digits", input_shape=(None, 64))
    training = starling.trainings.create(
        model, rounds=rounds, participants=participants, metric_names=["accuracy"]
    )
    starling.trainings.start(training)
    print(f"training {training}", flush=True)
    for event in starling.trainings.follow(training):
        if event.kind in {"round_opened", "update_accepted", "round_aggregated"}:
            print(f"round {event.round}: {event.kind.replace('_', ' ')}", flush=True)
    for round, mean in starling.trainings.metrics(training).mean("accuracy").items():
        print(f"after round {round}: accuracy {mean:.3f}")
