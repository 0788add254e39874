"""One clinic's part in a logistic regression on tumours: site.py CLINIC CLINICS."""

import sys

import starling_client
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

site, sites = int(sys.argv[1]), int(sys.argv[2])
patients = load_breast_cancer()
columns = torch.tensor(patients.data, dtype=torch.float32)
benign = torch.tensor(patients.target)
number = torch.arange(len(benign))
held_out = number % 5 == 0
here = ~held_out & (number % sites == site)


def train(model: nn.Module, x: Tensor, y: Tensor, steps: int = 20) -> None:
    # The whole share at once, so that the standardisation is that of the share and of no batch.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


@torch.no_grad()
def judged(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    score = model.eval()(x).softmax(dim=1)[:, 1]
    right = ((score > 0.5) == y.bool()).float().mean()
    return {"accuracy": float(right), "auc": float(roc_auc_score(y, score))}


for task in starling_client.join():
    model = task.model()
    if task.is_training:
        train(model, columns[here], benign[here])
    found = judged(model, columns[held_out], benign[held_out])
    task.submit(model, metrics=found, sample_size=int(here.sum()))
    print(f"clinic {site}, {task.kind.value}, round {task.round}: AUC {found['auc']:.3f}")
