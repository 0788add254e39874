"""Options of a training: typed and bounded where they mean something to the server.

Existing clients put keys of their own into `options` and read them back, so an unknown key is kept
as it is, unless it looks like a misspelt known one.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from backend.errors import InvalidRequest

# 1 is a count of one: a client that knows no difference between 1 and 1.0 must not mean all.
CountOrFraction = (
    Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | Annotated[float, msgspec.Meta(gt=0, lt=1)]
)
# Up to a year.
Deadline = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]


class UncertaintyOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the uncertainty method.

    Attributes:
        N: Number of stochastic forward passes.
        softmax: Apply softmax over dimension 1 of each output first.
    """

    N: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    softmax: bool = False


class TrainingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows to do with `options`.

    Attributes:
        skip_model_tests: No test rounds at all.
        model_test_after_each_round: Test after every aggregation, not only after the last.
        delete_local_models_after_aggregation: Drop the weights of updates once they are aggregated.
        accumulate: dtype of the running sum.
        mu: Weight of FedProx's proximal term; sent to participants with the round.
        daisy_chain_period: FedDC's rounds of local training behind one aggregation.
        seed: Of the permutations in daisy chaining and of the cohorts.
        quorum: How many updates are enough at the deadline: a count, or a fraction of the cohort
            below 1. By default all.
        round_deadline_seconds: How long a round waits for updates, and then for SWAG moments.
            Below the quorum it waits as long again, once. By default for ever.
        test_deadline_seconds: How long a test is waited for. By default for ever.
        cohort: How many participants are drawn for each round: a count, or a fraction of all below
            1. By default all.
        on_missed: What becomes of who misses a deadline: left out of that round, or removed.
        keep_updates_rounds: For how many rounds updates are kept after their aggregation; overrides
            `delete_local_models_after_aggregation`, which means none or for ever.
        keep_versions: How many versions of the global model are kept; by default all.
        uncertainty: Options of the uncertainty method.
    """

    skip_model_tests: bool = False
    model_test_after_each_round: bool = True
    delete_local_models_after_aggregation: bool = True
    accumulate: Literal["float64", "float32"] = "float64"
    mu: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.01
    daisy_chain_period: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    seed: int = 0
    quorum: CountOrFraction | None = None
    round_deadline_seconds: Deadline | None = None
    test_deadline_seconds: Deadline | None = None
    cohort: CountOrFraction | None = None
    on_missed: Literal["skip", "remove"] = "skip"
    keep_updates_rounds: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    keep_versions: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    uncertainty: UncertaintyOptions = UncertaintyOptions()

    @property
    def kept_rounds(self) -> int | None:
        """For how many rounds aggregated updates are kept; None: for ever."""
        if self.keep_updates_rounds is not None:
            return self.keep_updates_rounds
        return 0 if self.delete_local_models_after_aggregation else None


KNOWN = tuple(field.name for field in msgspec.structs.fields(TrainingOptions))


def parse_options(given: Mapping[str, object]) -> TrainingOptions:
    """The options with a meaning; defaults for those not given.

    Raises:
        InvalidRequest: an option has a wrong type or value, or a name that is nearly a known one.
    """
    for name in given:
        if name not in KNOWN and (near := difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)):
            raise InvalidRequest.field("options", f"{name} is unknown; did you mean {near[0]}?")
    known = {name: value for name, value in given.items() if name in KNOWN}
    try:
        options = msgspec.convert(known, TrainingOptions)
    except msgspec.ValidationError as error:
        message = str(error).replace("$.", "")
        if "`quorum`" in message or "`cohort`" in message:
            message += ". Give a count of at least 1 or a fraction below 1; leave it out for all."
        raise InvalidRequest.field("options", message) from error
    if options.cohort is not None and options.daisy_chain_period > 1:
        raise InvalidRequest.field(
            "options",
            "cohort cannot go together with daisy_chain_period: every participant hands a model "
            "on and continues another.",
        )
    return options
