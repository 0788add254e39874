"""NVFlare's weighted mean, which adds each update when it arrives."""

from collections.abc import Callable

from aggregation import arguments, measure, sample_size, update
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper


def main() -> None:
    """Add `updates` and take the result, as its FedAvg controller does."""
    options = arguments("fedavg")
    updates = [update(options.parameters, participant) for participant in range(options.updates)]

    def aggregate() -> object:
        mean = WeightedAggregationHelper()
        for participant, layers in enumerate(updates):
            mean.add(
                data=layers,
                weight=sample_size(participant),
                contributor_name=str(participant),
                contribution_round=0,
            )
        return mean.get_result()

    def prepare() -> Callable[[], object]:
        return aggregate

    measure(prepare, options.repetitions)


main()
