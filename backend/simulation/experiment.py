"""What to simulate: an experiment, read from TOML and checked before anything starts."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, get_args, get_origin

import msgspec

from backend.errors import InvalidRequest, StartupError
from backend.rounds.state import Plan
from backend.simulation.population import Constant, DropOuts, Response, Stragglers
from backend.trainings.options import TrainingOptions, parse_options
from backend.trainings.schemas import AggregationMethod
from compute.contract import AggregationOptions
from compute.simulation.contract import (
    DATA_SETS,
    Classification,
    DataSetName,
    Dirichlet,
    Even,
    Given,
    LocalTraining,
    Logistic,
    Mlp,
)

MOST_PARTICIPANTS = 1_000_000


class BadExperiment(StartupError):
    """The experiment cannot be run as it is written; says which field, and what to do."""

    exit_code = 2


class ParticipantsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who takes part, and how reliably.

    Attributes:
        count: How many there are.
        partition: Who holds which samples.
        response: How long each takes from a round's start to its update.
        stragglers: Some that are always slower than the others.
        drop_outs: How often one never delivers.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_PARTICIPANTS)]
    partition: Dirichlet | Even | Given = Dirichlet()
    response: Response = Constant(seconds=1.0)
    stragglers: Stragglers = Stragglers()
    drop_outs: DropOuts = DropOuts()


class DataTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which data set is shared among the participants."""

    name: DataSetName


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training that is simulated.

    Attributes:
        name: Takes part in every draw, as a training's id does on a server.
        seed: Decides everything that is random.
        aggregation_method: As in `POST /api/trainings/`.
        options: As in `POST /api/trainings/`; those that mean nothing without a network are
            ignored.
        data: With `model` and `local`, what participants do; all three are left out where the
            participants are given in Python.
    """

    rounds: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    participants: ParticipantsTable
    name: str = "simulation"
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    aggregation_method: AggregationMethod = "FedAvg"
    options: dict[str, object] = {}
    data: DataTable | None = None
    model: Logistic | Mlp | None = None
    local: LocalTraining | None = None

    @property
    def training_options(self) -> TrainingOptions:
        """The options with a meaning. Raises `BadExperiment`."""
        try:
            return parse_options(self.options)
        except InvalidRequest as error:
            raise BadExperiment(f"{error.detail}") from error

    @property
    def plan(self) -> Plan:
        """The course of the training, as a server has it."""
        options = self.training_options
        return Plan(
            rounds=self.rounds,
            skip_model_tests=options.skip_model_tests,
            test_each_round=options.model_test_after_each_round,
            daisy_chain_period=(
                options.daisy_chain_period if self.aggregation_method == "FedDC" else 1
            ),
            quorum=options.quorum,
        )

    @property
    def strategy(self) -> str:
        """How updates are aggregated: where they are, FedDC does as FedAvg does."""
        return "FedAvg" if self.aggregation_method == "FedDC" else self.aggregation_method

    @property
    def aggregation_options(self) -> AggregationOptions:
        """What the strategy is told."""
        return AggregationOptions(accumulate=self.training_options.accumulate)

    @property
    def proximal_weight(self) -> float:
        """FedProx's μ; 0 for other methods."""
        return self.training_options.mu if self.aggregation_method == "FedProx" else 0.0

    def check(self) -> None:
        """Make sure that the fields fit together.

        Raises:
            BadExperiment: they do not.
        """
        options = self.training_options
        if "seed" in self.options:
            raise BadExperiment("options.seed: say `seed` once, at the top of the experiment.")
        if "daisy_chain_period" in self.options and self.aggregation_method != "FedDC":
            raise BadExperiment("options.daisy_chain_period: it is an option of FedDC.")
        if self.participants.drop_outs.probability > 0 and options.round_deadline_seconds is None:
            raise BadExperiment(
                "options.round_deadline_seconds: give one, since participants drop out; without a "
                "deadline a server waits for them for ever."
            )
        if options.quorum is not None and options.round_deadline_seconds is None:
            raise BadExperiment(
                "options.quorum: it counts at the deadline only; give "
                "options.round_deadline_seconds too."
            )
        self._check_network()

    def classification(self, folder: Path) -> Classification:
        """What the participants do, for compute.

        Args:
            folder: Of a `given` partition's file, where its path is relative.

        Raises:
            BadExperiment: a table is missing, or the file of shares cannot be used.
        """
        if self.data is None or self.model is None or self.local is None:
            missing = next(name for name in ("data", "model", "local") if not getattr(self, name))
            raise BadExperiment(f"{missing}: add a table [{missing}].")
        partition = self.participants.partition
        return Classification(
            data=self.data.name,
            model=self.model,
            participants=self.participants.count,
            partition=partition,
            shares=_shares(folder / partition.file) if isinstance(partition, Given) else None,
            local=self.local,
            mu=self.proximal_weight,
            seed=self.seed,
        )

    def _check_network(self) -> None:
        if self.local is not None and (self.local.epochs is None) == (self.local.steps is None):
            raise BadExperiment("local: give either epochs or steps.")
        if self.data is None or not isinstance(self.model, Mlp):
            return
        wanted = DATA_SETS[self.data.name]
        for position, width, noun in (
            (0, wanted.inputs, "inputs"),
            (-1, wanted.classes, "classes"),
        ):
            if self.model.layers[position] != width:
                place = "first" if position == 0 else "last"
                raise BadExperiment(
                    f"model.layers: the {place} is {self.model.layers[position]}, but "
                    f"{self.data.name} has {width} {noun}; write {width}."
                )


def load_experiment(path: Path) -> Experiment:
    """The experiment in a TOML file.

    Raises:
        BadExperiment: the file cannot be read, or says something that cannot be done.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadExperiment(f"{path.name} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadExperiment(f"{path.name} is not TOML: {error}.") from error
    try:
        experiment = msgspec.convert(document, Experiment)
        experiment.check()
    except msgspec.ValidationError as error:
        raise BadExperiment(f"{path.name}: {_explained(str(error))}") from error
    except BadExperiment as error:
        raise BadExperiment(f"{path.name}: {error}") from error
    return experiment


def _shares(path: Path) -> list[list[int]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[list[int]])
    except OSError as error:
        raise BadExperiment(
            f"participants.partition.file: {path.name} cannot be read: {error.strerror}."
        ) from error
    except msgspec.DecodeError as error:
        raise BadExperiment(
            f"participants.partition.file: {path.name} must be a JSON list of lists of indices: "
            f"{error}."
        ) from error


def _explained(message: str) -> str:
    """Msgspec's message with the field first, and a name that may have been meant."""
    text, _, place = message.partition(" - at `")
    field = place.rstrip("`").removeprefix("$").lstrip(".")
    text = text.removeprefix("Object ")
    unknown = re.search(r"unknown field `(?P<name>[^`]*)`", text)
    if unknown is not None:
        near = difflib.get_close_matches(unknown["name"], sorted(set(_names(Experiment))), n=1)
        if near:
            text += f"; did you mean `{near[0]}`?"
    return f"{field}: {text}." if field else f"{text}."


def _names(kind: object) -> Iterator[str]:
    """Every field's name in a struct and the structs within it."""
    if get_origin(kind) in {UnionType, Annotated, list} or not isinstance(kind, type):
        for part in get_args(kind):
            yield from _names(part)
    elif issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.name
            yield from _names(field.type)
