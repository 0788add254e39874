"""Experiments as a user would write them."""

DIGITS = """\
rounds = 3
seed = 5

[options]
cohort = 0.25
quorum = 0.5
round_deadline_seconds = 60

[participants]
count = 40
partition = { kind = "dirichlet", alpha = 0.5 }
response = { kind = "lognormal", median_seconds = 20, sigma = 0.5 }
stragglers = { fraction = 0.1, slowdown = 4 }
drop_outs = { probability = 0.1 }

[data]
name = "digits"

[model]
kind = "mlp"
layers = [64, 8, 10]

[local]
epochs = 2
batch_size = 8
learning_rate = 0.1
"""
