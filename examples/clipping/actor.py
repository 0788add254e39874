"""Order a network from sites that clip what they send: actor.py SITE SITE."""

import sys

import torch
from starling_client import Starling
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
with Starling() as starling:
    model = starling.models.create(network, name="Digits, clipped", input_shape=(None, 64))
    training = starling.trainings.create(
        model, rounds=12, participants=sys.argv[1:], metric_names=["accuracy"]
    )
    starling.trainings.start(training)
    for _ in starling.trainings.follow(training):
        pass
    for round, mean in starling.trainings.metrics(training).mean("accuracy").items():
        print(f"after round {round}: accuracy {mean:.3f}")
