"""One training during which things are killed, and the look at what is left."""

import contextlib
import json
import secrets
import subprocess
import time
from dataclasses import dataclass

import torch

from tests.chaos.arena import Arena
from tests.chaos.invariants import blob_violations, lost_promises, violations
from tests.chaos.journal import Journal
from tests.chaos.lessons import Lessons, first_difference, read_model, read_moment, update_file
from tests.chaos.participants import Participant, PatientClient, WentWrongError, multipart
from tests.chaos.scenarios import Scenario
from tests.chaos.server_logs import unexpected
from tests.chaos.striking import DRIVER, Hit, Striker
from tests.servers import REPOSITORY, command
from tests.waiting import wait_until

DEADLINE_SECONDS = 120.0
HANG_SECONDS = 60.0
LOG_TAIL_CHARACTERS = 12_000


@dataclass(frozen=True)
class Result:
    """How a trial went.

    Attributes:
        seconds: From the start of the training until nobody waited for anything any more.
        check_seconds: What looking took.
        wrong: Violated invariants; empty when all is well.
    """

    scenario: Scenario
    training_id: str
    hits: list[Hit]
    seconds: float
    check_seconds: float
    wrong: list[str]
    timeline: str
    log: str


def run(arena: Arena, scenario: Scenario) -> Result:
    """Train, kill, and look."""
    log_start = arena.server.log_size()
    journal = Journal()
    trial = _Trial(arena, scenario, journal)
    began = time.monotonic()
    with contextlib.suppress(WentWrongError):
        trial.train()
    trained = time.monotonic()
    if not journal.wrong:
        with contextlib.suppress(WentWrongError):
            trial.look()
    trial.close()
    if (code := arena.server.process.poll()) is not None:
        journal.complain(DRIVER, f"the server ended by itself with code {code}")
        arena.server.start_and_wait()
    log = arena.server.log_text(log_start)
    for entry in unexpected(log):
        journal.complain("log", entry)
    return Result(
        scenario=scenario,
        training_id=trial.training_id,
        hits=trial.hits,
        seconds=trained - began,
        check_seconds=time.monotonic() - trained,
        wrong=journal.wrong,
        timeline=journal.timeline(),
        log=log[-LOG_TAIL_CHARACTERS:],
    )


class _Trial:
    """One training on the arena's server, made when nothing is being killed."""

    def __init__(self, arena: Arena, scenario: Scenario, journal: Journal) -> None:
        self._arena = arena
        self._scenario = scenario
        self._journal = journal
        self._lessons = Lessons(scenario.seed, scenario.sample_sizes)
        self._course = self._lessons.course(scenario.rounds)
        self._actor, _ = self._person("actor")
        people = [self._person(f"p{place}") for place in range(len(scenario.sample_sizes))]
        self._clients = [client for client, _ in people]
        self._model_id = self._upload_model()
        self.training_id = self._create_training([user_id for _, user_id in people])
        self._striker = Striker(
            scenario.strikes,
            participants=len(people),
            killer=arena.killer,
            training_id=self.training_id,
            journal=journal,
        )

    @property
    def hits(self) -> list[Hit]:
        """The kills that were done."""
        return self._striker.hits

    def close(self) -> None:
        """Close everybody's connections."""
        for client in (self._actor, *self._clients):
            client.close()

    def train(self) -> None:
        """Take the training to its end; returns when nobody waits for anything any more."""
        participants = [
            Participant(
                client,
                place,
                model_id=self._model_id,
                lessons=self._lessons,
                course=self._course,
                journal=self._journal,
                passage=self._striker.reach,
            )
            for place, client in enumerate(self._clients)
        ]
        self._arena.server.look_while_dead = self._look_while_dead
        self._extend_deadline()
        self._actor.post(f"/api/trainings/{self.training_id}/start/", "start", 202)
        for participant in participants:
            participant.start()
        for participant in participants:
            if not participant.join(DEADLINE_SECONDS + HANG_SECONDS):
                self._journal.complain(DRIVER, f"participant {participant.place} hangs")
        self._striker.finish(timeout_seconds=HANG_SECONDS)

    def look(self) -> None:
        """Compare what is there with what should be, delete it all, and look again."""
        self._extend_deadline()
        self._compare_models()
        self._repeat_uploads()
        snapshot = self._arena.truth.snapshot(self.training_id)
        for found in violations(
            snapshot, self._journal, rounds=self._scenario.rounds, swag=self._scenario.swag
        ):
            self._journal.complain(DRIVER, found)
        self._check_blobs(swept=False)
        self._verify()
        self._arena.sweep()
        self._check_blobs(swept=True)
        self._delete()

    def _person(self, name: str) -> tuple[PatientClient, str]:
        """Somebody's client, and their id."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        url, journal = self._arena.server.url, self._journal
        anybody = PatientClient(url, None, who=name, journal=journal, deadline=deadline)
        order = {"username": f"{name}-{secrets.token_hex(4)}", "password": "not used at all"}
        created = anybody.post("/api/users/", "registration", 201, order).json()
        anybody.close()
        client = PatientClient(url, created["token"], who=name, journal=journal, deadline=deadline)
        return client, created["id"]

    def _upload_model(self) -> str:
        fields = {
            "name": "Chaos",
            "description": f"run {self._scenario.number}",
            "type": "SWAG" if self._scenario.swag else "GLOBAL",
        }
        body = multipart(fields, {"model_file": self._lessons.model_file()})
        return str(
            self._actor.post_form("/api/models/", "model upload", 201, body).json()["model_id"]
        )

    def _create_training(self, participants: list[str]) -> str:
        order: dict[str, object] = {
            "model_id": self._model_id,
            "target_num_updates": self._scenario.rounds,
            "metric_names": ["accuracy"],
            "aggregation_method": "FedAvg",
            "clients": participants,
        }
        if self._scenario.swag:
            order["uncertainty_method"] = "SWAG"
        if self._scenario.keeps_updates:
            order["options"] = {"keep_updates_rounds": self._scenario.rounds}
        answer = self._actor.post("/api/trainings/", "training", 201, order)
        return str(answer.json()["training_id"])

    def _extend_deadline(self) -> None:
        for client in (self._actor, *self._clients):
            client.deadline = time.monotonic() + DEADLINE_SECONDS

    def _look_while_dead(self) -> None:
        """While nobody runs the database: what was answered 201 so far must be in it."""
        promised = self._journal.promises()
        snapshot = self._arena.truth.snapshot(self.training_id)
        for lost in lost_promises(snapshot.updates, snapshot.participants, promised):
            self._journal.complain(DRIVER, f"after the server was killed, {lost}")
        self._check_blobs(swept=False)

    def _compare_models(self) -> None:
        content = self._actor.get(f"/api/models/{self._model_id}/", "final model").content
        difference = first_difference(read_model(content), self._course[-1])
        if difference is not None:
            self._journal.complain(DRIVER, f"the final model: {difference}")
        if not self._scenario.swag:
            return
        metadata = self._actor.get(f"/api/models/{self._model_id}/metadata/", "metadata").json()
        expected = self._lessons.expected_moments(self._scenario.rounds - 1)
        for field, wanted in zip(
            ("swag_first_moment", "swag_second_moment"), expected, strict=True
        ):
            found = read_moment(self._actor.get(metadata[field], field).content)
            if not torch.equal(found, wanted):
                self._journal.complain(DRIVER, f"{field} is not the mean of what was sent")

    def _repeat_uploads(self) -> None:
        """A delivered update again is 201 and other bytes are 409, when all is over, too."""
        path = f"/api/models/{self._model_id}/"
        for round, base in enumerate(self._course[:-1]):
            place = (self._scenario.seed + round) % len(self._clients)
            size = self._scenario.sample_sizes[place]
            same, other = (
                multipart(
                    {"round": round, "sample_size": size},
                    {"model_file": update_file(self._lessons.trained(base, round, place + which))},
                )
                for which in (0, 1)
            )
            client = self._clients[place]
            client.post_form(path, "the same update again", 201, same)
            client.post_form(path, "another update", 409, other)

    def _check_blobs(self, *, swept: bool) -> None:
        found = blob_violations(
            self._arena.truth.referenced(), self._arena.truth.blobs(), swept=swept
        )
        for violation in found:
            self._journal.complain(DRIVER, violation)

    def _verify(self) -> None:
        """Have every round computed again whose updates are kept."""
        server = self._arena.server
        ended = subprocess.run(
            command("verify", self.training_id, "--json", "--data-dir", str(server.data_dir)),
            env=server._environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        aggregations = self._scenario.rounds * (2 if self._scenario.swag else 1)
        outcome = "verified" if self._scenario.keeps_updates else "not_kept"
        lines = ended.stdout.splitlines()
        if ended.returncode != 0 or json.loads(lines[-1])["rounds"] != {outcome: aggregations}:
            self._journal.complain(
                DRIVER,
                f"{aggregations} aggregations should be {outcome}, and starling verify ended with "
                f"{ended.returncode}:\n{ended.stdout}{ended.stderr}",
            )

    def _delete(self) -> None:
        """Delete training and model; nothing of them may stay in the blob store."""
        truth = self._arena.truth
        self._actor.delete(f"/api/trainings/{self.training_id}/", "delete the training", 200)
        self._actor.delete(f"/api/models/{self._model_id}/", "delete the model", 200)
        try:
            wait_until(
                lambda: not blob_violations(truth.referenced(), truth.blobs(), swept=True),
                what="the deleted training's blobs to go",
                timeout_seconds=10,
            )
        except AssertionError as error:
            self._journal.complain(DRIVER, str(error))
