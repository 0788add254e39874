"""What a run was like, in text: one line when all is well, everything when not."""

import statistics

from tests.chaos.crowd import Findings
from tests.chaos.trial import Result

MEBIBYTE = 1024**2


def line(result: Result) -> str:
    """One line about a run."""
    scenario = result.scenario
    kind = "SWAG" if scenario.swag else "FedAvg"
    hits = ", ".join(f"{hit.kill} in {hit.phase}" for hit in result.hits)
    return (
        f"{scenario.number:4}  {scenario.database:<10}  {kind:<6}  "
        f"{len(scenario.sample_sizes)} x {scenario.rounds} rounds  "
        f"{result.seconds:5.1f} s + {result.check_seconds:4.1f} s  "
        f"{'VIOLATED' if result.wrong else 'ok'}  {hits}"
    )


def explained(result: Result) -> str:
    """All that is known about a run: what is wrong, the plan, what happened, the server's log."""
    plan = "\n".join(str(strike) for strike in result.scenario.strikes)
    wrong = "\n".join(result.wrong)
    return (
        f"{wrong}\n--- plan of training {result.training_id}: {result.scenario}\n{plan}\n"
        f"--- timeline\n{result.timeline}\n--- end of the server's log\n{result.log}"
    )


def described(findings: Findings) -> str:
    """How a crowd fared, in one sentence, and what was wrong."""
    shown = [
        f"{findings.participants} participants registered in {findings.register_seconds:.1f} s",
        f"{findings.rounds} rounds in {findings.training_seconds:.1f} s",
        f"web process {findings.before_bytes / MEBIBYTE:.0f} MiB",
        f"{findings.idle_bytes / MEBIBYTE:.0f} MiB and {findings.idle_cpu:.1%} of a core waiting",
        f"{findings.peak_bytes / MEBIBYTE:.0f} MiB at most",
    ]
    if findings.upload_seconds:
        shown.append(
            f"uploads answered after {statistics.median(findings.upload_seconds):.2f} s (median), "
            f"{findings.upload_seconds[-1]:.2f} s at most"
        )
    return "\n".join(["; ".join(shown) + ".", *findings.wrong])
