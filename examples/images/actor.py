"""Order a CNN from sites, and ask it for a digit and for noise: actor.py SITE SITE."""

import sys

import torch
from sklearn.datasets import load_digits
from starling_client import Starling
from torch import nn

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),  # (batch, 16, 4, 4)
    nn.Conv2d(16, 32, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Dropout(0.3),
    nn.Linear(512, 10),
)
with Starling() as starling:
    model = starling.models.create(network, name="Digit images", input_shape=(None, 1, 8, 8))
    training = starling.trainings.create(
        model,
        rounds=8,
        participants=sys.argv[1:],
        metric_names=["accuracy"],
        uncertainty="MC_DROPOUT",
        options={"uncertainty": {"N": 50, "softmax": True}},
    )
    starling.trainings.start(training)
    for _ in starling.trainings.follow(training):
        pass
    for round, mean in starling.trainings.metrics(training).mean("accuracy").items():
        print(f"after round {round}: accuracy {mean:.3f}")
    digit = torch.tensor(load_digits().images[:1] / 16, dtype=torch.float32).unsqueeze(1)
    noise = digit.new_zeros(digit.shape).bernoulli_(0.5)
    answer = starling.predict(model, torch.cat([digit, noise]), seed=0)
    entropy = answer.predictive_entropy
    if entropy is None:
        sys.exit("The answer says nothing of its uncertainty.")
    for row, name in enumerate(("a digit", "noise")):
        best = int(answer.inference[row].argmax())
        probability = float(answer.inference[row, best])
        print(f"{name}: a {best} with {probability:.0%}, entropy {float(entropy[row]):.2f} nats")
