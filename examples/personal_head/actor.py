"""Order a body without a head from sites: actor.py SITE SITE."""

import sys

import torch
from starling_client import Starling
from torch import nn

torch.manual_seed(0)
body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
with Starling() as starling:
    model = starling.models.create(body, name="Features of digits", input_shape=(None, 64))
    training = starling.trainings.create(
        model, rounds=8, participants=sys.argv[1:], metric_names=["accuracy"]
    )
    starling.trainings.start(training)
    for _ in starling.trainings.follow(training):
        pass
    for round, mean in starling.trainings.metrics(training).mean("accuracy").items():
        print(f"after round {round}: accuracy {mean:.3f}")
