"""Order a logistic regression from clinics, and have it judge a patient: actor.py CLINIC CLINIC."""

import sys

import torch
from sklearn.datasets import load_breast_cancer
from starling_client import Starling
from torch import nn

torch.manual_seed(0)
# A momentum of 1: what is kept is each clinic's own mean and variance, which the server averages
# like the weights. So nobody needs to know the others' ranges to standardise a column.
network = nn.Sequential(nn.BatchNorm1d(30, affine=False, momentum=1.0), nn.Linear(30, 2))
with Starling() as starling:
    model = starling.models.create(network, name="Tumours", input_shape=(None, 30))
    training = starling.trainings.create(
        model, rounds=5, participants=sys.argv[1:], metric_names=["accuracy", "auc"]
    )
    starling.trainings.start(training)
    for _ in starling.trainings.follow(training):
        pass
    metrics = starling.trainings.metrics(training)
    for (round, accuracy), auc in zip(
        metrics.mean("accuracy").items(), metrics.mean("auc").values(), strict=True
    ):
        print(f"after round {round}: accuracy {accuracy:.3f}, AUC {auc:.3f}")
    patients = load_breast_cancer()
    verdict = starling.predict(model, torch.tensor(patients.data[:1], dtype=torch.float32))
    print(f"patient 0: {patients.target_names[int(verdict.inference[0])]}")
