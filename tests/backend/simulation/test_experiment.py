"""An experiment that cannot be run is refused with the field and what to do."""

from pathlib import Path

import pytest

from backend.simulation import BadExperiment, load_experiment
from tests.backend.simulation.experiments import DIGITS


def refusal(folder: Path, text: str) -> str:
    path = folder / "wrong.toml"
    path.write_text(text)
    with pytest.raises(BadExperiment) as refused:
        load_experiment(path).classification(folder)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_an_experiment_is_read_with_the_servers_options(tmp_path: Path) -> None:
    path = tmp_path / "digits.toml"
    path.write_text(DIGITS)
    experiment = load_experiment(path)
    assert experiment.training_options.quorum == 0.5
    assert experiment.plan.quorum == 0.5
    assert experiment.participants.count == 40
    assert experiment.classification(tmp_path).mu == 0.0


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("count = 40", "count = 0", ["participants.count", ">= 1"]),
        ("count = 40", "count = 'x'", ["participants.count", "int"]),
        ("count = 40", "counts = 40", ["participants", "counts", "did you mean `count`"]),
        ("count = 40\n", "", ["participants", "count"]),
        ("alpha = 0.5", "alpha = 0", ["participants.partition.alpha"]),
        ('kind = "dirichlet"', 'kind = "zipf"', ["participants.partition", "zipf"]),
        ('kind = "lognormal"', 'kind = "normal"', ["participants.response", "normal"]),
        ("slowdown = 4", "slowdown = 0.5", ["participants.stragglers.slowdown"]),
        ("probability = 0.1", "probability = 2", ["participants.drop_outs.probability"]),
        ('name = "digits"', 'name = "mnist"', ["data.name", "mnist"]),
        ("[64, 8, 10]", "[60, 8, 10]", ["model.layers", "64 inputs"]),
        ("[64, 8, 10]", "[64, 8, 2]", ["model.layers", "10 classes"]),
        ("[64, 8, 10]", "[64]", ["model.layers"]),
        ("epochs = 2", "epochs = 2\nsteps = 2", ["local", "either epochs or steps"]),
        ("epochs = 2\n", "", ["local", "either epochs or steps"]),
        ("learning_rate = 0.1", "learning_rate = -1", ["local.learning_rate"]),
        ("[local]", "[locals]", ["locals", "did you mean `local`"]),
        ("quorum = 0.5", "quorum = 1.0", ["options", "fraction below 1"]),
        ("quorum = 0.5", "qorum = 0.5", ["options", "did you mean quorum"]),
        ("quorum = 0.5", "seed = 1", ["options.seed", "once"]),
        ("quorum = 0.5", "daisy_chain_period = 2", ["options"]),
        ("round_deadline_seconds = 60\n", "", ["options.round_deadline_seconds", "for ever"]),
        ("rounds = 3", "rounds = 3\naggregation_method = 'Fed'", ["aggregation_method"]),
        ("rounds = 3", "rounds = ", ["TOML"]),
        (
            'kind = "dirichlet", alpha = 0.5',
            'kind = "given", file = "none.json"',
            ["participants.partition.file", "none.json"],
        ),
        (
            'kind = "dirichlet", alpha = 0.5',
            'kind = "given", file = "wrong.toml"',
            ["participants.partition.file", "list of lists"],
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, before: str, after: str, words: list[str]) -> None:
    assert before in DIGITS
    message = refusal(tmp_path, DIGITS.replace(before, after, 1))
    assert "wrong.toml" in message or "file" in message
    assert [word for word in words if word not in message] == [], message
    assert "$" not in message


@pytest.mark.parametrize("table", ["data", "model", "local"])
def test_what_participants_do_must_be_said(tmp_path: Path, table: str) -> None:
    tables = DIGITS.split("\n\n")
    without = "\n\n".join(part for part in tables if not part.startswith(f"[{table}]"))
    assert f"[{table}]" in refusal(tmp_path, without)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadExperiment, match=r"nowhere\.toml cannot be read"):
        load_experiment(tmp_path / "nowhere.toml")


def test_the_proximal_weight_is_fedprox_only(tmp_path: Path) -> None:
    path = tmp_path / "prox.toml"
    path.write_text(
        'aggregation_method = "FedProx"\n' + DIGITS.replace("[options]", "[options]\nmu = 0.3")
    )
    assert load_experiment(path).classification(tmp_path).mu == 0.3
