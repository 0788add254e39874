"""The table: for each recorded exchange, the situation in which it is sent and what is expected.

A row is added for every exchange of an endpoint that exists; `LATER` names the others, so that
an endpoint and its rows arrive together.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from tests.contract.exchanges import Exchange
from tests.contract.world import UNKNOWN, UPDATE, World
from tests.federations import Person
from tests.model_files import CallsOnLoad, pickle_of_a_string, pickled, tiny, torchscript

Files = Mapping[str, bytes]
GLOBAL = torchscript(tiny())


@dataclass(frozen=True)
class Row:
    """How one exchange is sent again.

    Attributes:
        caller: Who sends it with a token; None: nobody in particular, without credentials.
        path_id: The id in the path.
        authorization: Header instead of the caller's token.
        model: The model that the recorded body's model ids stand for.
        lost: Fields that were sent and not recorded.
        after: Exchange that is sent first.
        statuses: What the contract expects where that is not the recorded status; a recorded 5xx
            is a 400 unless the row says otherwise.
    """

    caller: Callable[[World], Person] | None = None
    path_id: Callable[[World], str] = lambda _: ""
    authorization: Callable[[World], str] | None = None
    model: Callable[[World], str] = lambda world: world.model
    files: Files = field(default_factory=dict)
    lost: tuple[tuple[str, str], ...] = ()
    after: str = ""
    statuses: tuple[int, ...] = ()

    def expected(self, exchange: Exchange) -> frozenset[int]:
        """Statuses that the contract allows."""
        if self.statuses:
            return frozenset(self.statuses)
        if exchange.status >= 500:
            return frozenset({400})
        # A path without its slash may be answered directly; clients follow the redirect.
        if exchange.status == 301:
            return frozenset({202 if exchange.method == "POST" else 200})
        return frozenset({exchange.status})


def actor(world: World) -> Person:
    return world.actor


def client1(world: World) -> Person:
    return world.client1


def client2(world: World) -> Person:
    return world.client2


def outsider(world: World) -> Person:
    return world.outsider


def newcomer(world: World) -> Person:
    return world.newcomer


def unknown(_: World) -> str:
    return UNKNOWN


def a_model(world: World) -> str:
    return world.model


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def upload(content: bytes = GLOBAL, *statuses: int) -> Row:
    """A global model uploaded by the actor."""
    return Row(actor, files={"model_file": content}, statuses=statuses)


def update(
    sender: Callable[[World], Person] | None = client1,
    to: Callable[[World], str] = lambda world: world.running.model_id,
    *statuses: int,
) -> Row:
    """A participant's update."""
    return Row(sender, to, files={"model_file": UPDATE}, statuses=statuses)


def create_training(*statuses: int) -> Row:
    """A training created by the actor."""
    return Row(actor, statuses=statuses)


def with_defaults(prefix: str, row: Row, *names: str) -> dict[str, Row]:
    """The same row for several exchanges."""
    return {f"{prefix}.{name}": row for name in names}


USERS: dict[str, Row] = {
    **with_defaults(
        "users.create",
        Row(),
        *("ok", "client1", "client2", "outsider", "only_username_password", "weak_password"),
        *("unknown_field", "username_too_long", "username_invalid_chars", "bool_as_string"),
        *("bool_null", "invalid_json", "empty_body", "json_list", "text_plain"),
    ),
    **with_defaults(
        "users.create",
        Row(statuses=(400,)),
        *("missing_username", "invalid_url", "empty_password", "own_id"),
    ),
    "users.create.duplicate_username": Row(after="users.create.client1"),
    "users.create.form_urlencoded": Row(statuses=(400, 415)),
    "users.create.with_bad_authorization": Row(authorization=lambda _: f"Token {'0' * 40}"),
    **with_defaults(
        "users.myself",
        Row(client1),
        *("put_not_allowed", "patch_not_allowed", "delete_not_allowed", "post_not_allowed"),
    ),
    # A path that takes no PUT from anybody may say so before it asks who it is.
    "users.method_not_allowed.no_auth": Row(statuses=(401, 405)),
    "users.head": Row(client1),
    "users.list": Row(client1),
    "users.list.no_auth": Row(),
    "users.get.own": Row(client1, lambda world: world.client1.id),
    "users.get.other": Row(client1, lambda world: world.client2.id),
    "users.get.malformed_uuid": Row(client1),
    "users.delete_not_allowed": Row(client1, lambda world: world.client1.id),
    "users.trainings.empty": Row(newcomer),
    "users.trainings.actor": Row(actor, after="trainings.create.ok"),
}

AUTHENTICATION: dict[str, Row] = {
    "auth.none": Row(),
    "auth.url_userinfo": Row(),
    **{
        f"auth.{name}": Row(authorization=header)
        for name, header in {
            "token.ok": lambda world: f"Token {world.client1.token}",
            "token.invalid": lambda _: f"Token {'0' * 40}",
            "token.with_spaces": lambda world: f"Token {world.client1.token} x",
            "basic.token_as_user": lambda world: basic(f"{world.client1.token}:"),
            "basic.unknown_user": lambda _: basic("nobody-at-all:pw"),
            "basic.wrong_token_as_user": lambda _: basic(f"{'0' * 40}:"),
            "basic.token_as_user_with_password": lambda world: basic(f"{world.client1.token}:pw"),
            "basic.not_base64": lambda _: "Basic %%%",
            "basic.no_colon": lambda _: basic("nocolon"),
            "basic.empty": lambda _: "Basic",
        }.items()
    },
    # The contract is silent about it; JSON for who wants XML is harmless.
    "accept.unsupported": Row(client1, statuses=(200, 406)),
    "accept.format_query": Row(client1),
}

MODELS: dict[str, Row] = {
    **with_defaults(
        "models.create",
        upload(),
        *("torchscript", "bytes_part_named_like_field", "input_shape_empty_string"),
        *("input_shape_comma_string", "input_shape_text", "input_shape_null_lower"),
        *("round_given", "missing_name", "missing_description", "empty_name", "name_too_long"),
        *("unknown_field", "missing_file", "urlencoded", "json_no_file", "type_global", "second"),
        *("invalid_json", "for_preprocessing", "to_delete", "for_cascade", "inf_none", "inf_mc"),
        *("inf_mc_logits", "inf_mc_softmax_opt", "inf_mc_n1", "inf_mc_badopt", "ens1", "ens2"),
        *("ens_on_global", "inf_image_noshape"),
    ),
    **with_defaults(
        "models.create", upload(GLOBAL, 400), "input_shape_negative", "own_id", "type_unknown"
    ),
    "models.create.nn_with_shape": upload(pickled(tiny())),
    "models.create.inf_image_4d": upload(
        torchscript(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)))
    ),
    "models.create.garbage_file": upload(b"garbage" * 20),
    "models.create.empty_file": upload(b""),
    "models.create.tensor_file": upload(pickled(torch.zeros(3))),
    "models.create.pickle_of_str": upload(pickle_of_a_string()),
    "models.create.no_auth": Row(files={"model_file": GLOBAL}),
    "security.pickle_executes": upload(pickled(CallsOnLoad("was-run"))),
    "models.list.owner": Row(actor, after="models.create.torchscript"),
    "models.list.empty": Row(newcomer),
    "models.list.participant_with_upload": Row(client1, after="local.upload.duplicate.2"),
    "models.metadata.with_stats": Row(actor, a_model),
    "models.metadata.no_shape": Row(actor, lambda world: world.model_without_shape),
    "models.metadata.nn_module": Row(actor, lambda world: world.module),
    "models.metadata.malformed": Row(actor),
    "models.metadata.clone_of_trained": Row(actor, lambda world: world.retrained.model_id),
    "models.metadata.local": Row(client1, lambda world: world.half.local_model_of(world.client1)),
    "models.get.after_training_delete": Row(actor, lambda world: world.deleted().model_id),
    "models.download.owner": Row(actor, a_model),
    "models.download.nn_module": Row(actor, lambda world: world.module),
    "models.download.outsider": Row(outsider, a_model, statuses=(403,)),
    "models.download.unknown": Row(actor, unknown),
    "models.download.malformed": Row(actor),
    "models.download.no_auth": Row(None, a_model),
    "models.download.range": Row(actor, a_model),
    "models.download.local_by_other": Row(
        client2, lambda world: world.half.local_model_of(world.client1), statuses=(403,)
    ),
    "models.put_not_allowed": Row(actor, a_model),
}

METRICS: dict[str, Row] = {
    **with_defaults(
        "metrics.create",
        Row(actor, a_model),
        *("urlencoded", "multipart", "non_float", "nan_inf", "missing_values", "name_too_long"),
    ),
    # The contract takes JSON too.
    "metrics.create.json": Row(actor, a_model, statuses=(201,)),
    "metrics.create.malformed": Row(actor),
    "metrics.create.no_auth": Row(None, a_model),
    "metrics.create.by_outsider": Row(outsider, a_model, statuses=(403,)),
    "metrics.create.local": Row(client1, lambda world: world.half.local_model_of(world.client1)),
    "metrics.create.test_round.c1": Row(client1, lambda world: world.running.model_id),
    "metrics.create.test_round.c2": Row(client2, lambda world: world.running.model_id),
    "metrics.list": Row(actor, lambda world: world.measured_model),
    "metrics.list.empty": Row(actor, lambda world: world.initial.model_id),
    "metrics.list.local": Row(client1, lambda world: world.half.local_model_of(world.client1)),
    "metrics.list.unknown": Row(actor, unknown),
    "metrics.list.with_nan": Row(actor, lambda world: world.model_with_nan, statuses=(200,)),
    "metrics.list.no_slash": Row(actor, lambda world: world.measured_model),
}

TRAININGS: dict[str, Row] = {
    **with_defaults(
        "trainings.create",
        create_training(),
        *("ok", "same_model_again", "unknown_client", "duplicate_client", "malformed_model"),
        *("malformed_client", "clients_not_list", "clients_null", "missing_model_id"),
        *("missing_target_num_updates", "missing_metric_names", "missing_aggregation_method"),
        *("empty_object", "lowercase_aggregation", "bad_uncertainty", "bad_target"),
        *("target_string", "metric_names_string", "metric_names_ints", "unknown_field"),
        *("options_not_dict", "options_null", "options", "fedprox", "invalid_json", "json_list"),
        *("empty_body", "form", "json_with_text_content_type", "on_trained_model"),
        *("for_start_by_participant", "for_cascade", "for_inference"),
    ),
    "trainings.create.no_auth": Row(),
    "trainings.create.unknown_model": Row(actor, model=unknown),
    "trainings.create.target_float": create_training(400),
    "trainings.create.on_local_model": Row(
        client1, model=lambda world: world.half.local_model_of(world.client1), statuses=(400,)
    ),
    "trainings.list.actor": Row(actor, after="trainings.create.ok"),
    "trainings.list.participant": Row(client1),
    "trainings.list.no_auth": Row(),
    "trainings.get.clone": Row(actor, lambda world: world.initial.id),
    "trainings.get.options": Row(
        actor,
        lambda world: (
            world.new_training(options={"uncertainty": {"N": 5}, "anything": [1, {"x": None}]}).id
        ),
    ),
    "trainings.get.actor": Row(actor, lambda world: world.initial.id),
    "trainings.get.participant": Row(client1, lambda world: world.initial.id),
    "trainings.get.outsider": Row(outsider, lambda world: world.initial.id),
    "trainings.get.unknown": Row(actor, unknown),
    "trainings.get.malformed": Row(actor),
    "trainings.get.no_slash": Row(actor, lambda world: world.initial.id),
    "trainings.get.one_arrived": Row(actor, lambda world: world.half.id),
    "trainings.get.after_duplicate": Row(
        actor, lambda world: world.half.id, after="local.upload.duplicate.2"
    ),
    "trainings.get.round1": Row(actor, lambda world: world.half.id),
    "trainings.get.ongoing_2": Row(actor, lambda world: world.running.id),
    "trainings.get.completed": Row(actor, lambda world: world.retrained.id),
    "trainings.put_not_allowed": Row(actor, lambda world: world.initial.id),
    "trainings.start.no_participants": Row(
        actor, lambda world: world.new_training(participants=[]).id
    ),
    "trainings.start.outsider": Row(outsider, lambda world: world.initial.id),
    "trainings.start.by_participant": Row(client1, lambda world: world.initial.id, statuses=(403,)),
    "trainings.start.unknown": Row(actor, unknown),
    "trainings.start.malformed": Row(actor),
    "trainings.start.no_slash": Row(actor, lambda world: world.new_training().id),
    "trainings.start.on_trained_model": Row(actor, lambda world: world.new_training().id),
    "trainings.start.twice": Row(actor, lambda world: world.running.id),
    "trainings.delete.ok": Row(actor, lambda world: world.new_training().id),
    "trainings.delete.while_ongoing": Row(actor, lambda world: world.new_running().id),
    "trainings.delete.participant": Row(client1, lambda world: world.running.id),
    "trainings.delete.again": Row(actor, lambda world: world.deleted().id),
    "trainings.delete.malformed": Row(actor),
    **with_defaults(
        "clients",
        Row(actor, lambda world: world.initial.id),
        *("register.ok", "register.again", "remove.ok", "remove.not_registered"),
        *("register.malformed", "register.missing", "register.empty"),
        *("remove.malformed", "remove.no_body"),
    ),
    "clients.register.by_participant": Row(
        client1, lambda world: world.initial.id, statuses=(403,)
    ),
    "clients.remove.by_participant": Row(client1, lambda world: world.initial.id, statuses=(403,)),
    "clients.register.outsider": Row(outsider, lambda world: world.initial.id),
    "clients.register.malformed_training": Row(actor),
    "clients.register.while_ongoing": Row(actor, lambda world: world.new_running().id),
}

UPDATES: dict[str, Row] = {
    **with_defaults(
        "local.upload",
        update(),
        *("wrong_round", "missing_sample_size", "round_not_int", "two_rounds", "missing_file"),
        *("malformed_model", "urlencoded", "only_metric_names"),
    ),
    "local.upload.non_participant": update(outsider),
    "local.upload.actor_not_participant": update(actor),
    "local.upload.unknown_model": update(client1, unknown),
    "local.upload.model_without_training": update(client1, lambda world: world.measured_model),
    "local.upload.no_auth": update(None),
    "local.upload.to_local_model_id": update(
        client2, lambda world: world.half.local_model_of(world.client1)
    ),
    "local.upload.ok": Row(
        client1,
        lambda world: world.new_running().model_id,
        files={"model_file": UPDATE},
        # `metrics.list.local` shows the value that the recording of the upload lacks.
        lost=(("metric_values", "0.75"),),
    ),
    # The same bytes again: accepted, counted once.
    "local.upload.duplicate.2": update(client1, lambda world: world.half.model_id),
    "local.upload.metrics_mismatch": update(client1, lambda world: world.running.model_id, 400),
    "local.upload.on_trained_model.round0": update(
        client1, lambda world: world.retrained.model_id, 201
    ),
    "local.upload.on_trained_model.round2": update(
        client1, lambda world: world.retrained.model_id, 400
    ),
}

DOCUMENTS: dict[str, Row] = {
    **dict.fromkeys(("schema", "schema.json", "schema.swagger_ui", "schema.redoc"), Row()),
    "not_found": Row(client1),
    "not_found.no_auth": Row(),
}

ROWS = USERS | AUTHENTICATION | MODELS | METRICS | TRAININGS | UPDATES | DOCUMENTS

# Exchanges of endpoints, kinds of models and methods that are not there yet, as patterns of names.
LATER = (
    "groups.*",
    "users.groups.*",
    "preprocessing.*",
    "models.create.with_preprocessing",
    "models.create.garbage_preprocessing",
    "models.create.inf_image_preprocessing",
    "models.create.type_swag*",
    "models.create.mean_*",
    "models.create.json_charset",
    "models.create.*swag*",
    "models.metadata.swag",
    "models.metadata.mean*",
    "models.metadata.preprocessing",
    "models.download.mean",
    "models.delete.*",
    "trainings.models.*",
    "trainings.latest*",
    "trainings.create.*daisy*",
    "trainings.get.daisy",
    "trainings.*swag*",
    "trainings.*mean*",
    "trainings.get.after_model_delete",
    "local.upload.swag_round",
    "metrics.*swag*",
    "swag.*",
    "inference.*",
    "dummy.*",
)
