"""The table: for each recorded exchange, the situation in which it is sent and what is expected."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from tests.contract.exchanges import Exchange
from tests.contract.world import (
    FIRST_MOMENT,
    IMAGE_PREPROCESSING,
    SCRIPTED_PREPROCESSING,
    SECOND_MOMENT,
    UNKNOWN,
    UPDATE,
    World,
)
from tests.federations import Person, accepted_model
from tests.model_files import CallsOnLoad, pickle_of_a_string, pickled, tiny, tiny_file, torchscript

Files = Mapping[str, bytes]
GLOBAL = tiny_file()
TENSOR = pickled(torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]]))
TENSOR_TEXT = base64.b64encode(TENSOR).decode()
CLASSES = {"inference": [0, 1], "uncertainty": {}}
# Recorded in text: a grey image of 28 x 28 pixels.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAFklEQVR4nGNsYMANmPDIjUqOSo4wSQDxiwC4Zvu+UwAAAABJ"
    "RU5ErkJggg=="
)


@dataclass(frozen=True)
class Row:
    """How one exchange is sent again.

    Attributes:
        caller: Who sends it with a token; None: nobody in particular, without credentials.
        path_id: The id in the path.
        authorization: Header instead of the caller's token.
        model: The model that the recorded body's model ids stand for.
        lost: Fields that were sent and not recorded.
        model_input: Of a prediction, where the recording was cut.
        after: Exchange that is sent first.
        better: The contract's response, where that is not the recorded one.
        says: Text that the answer must have.
        absent: Text that it must not have.
        statuses: What the contract expects where that is not the recorded status; a recorded 5xx
            is a 400 unless the row says otherwise.
    """

    caller: Callable[[World], Person] | None = None
    path_id: Callable[[World], str] = lambda _: ""
    authorization: Callable[[World], str] | None = None
    model: Callable[[World], str] = lambda world: world.model
    files: Files = field(default_factory=dict)
    lost: tuple[tuple[str, str], ...] = ()
    model_input: str = ""
    after: str = ""
    better: object = None
    says: str = ""
    absent: str = ""
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


def a_group(world: World) -> str:
    return world.group


def new_group(world: World) -> str:
    return world.new_group()


def superuser(world: World) -> Person:
    return world.root


def preprocessed(world: World) -> str:
    return world.preprocessed


def in_a_training(world: World) -> str:
    return world.initial.model_id


def in_state(letter: str) -> str:
    return f'"state":"{letter}"'


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


def with_preprocessing(content: bytes) -> Row:
    """A global model uploaded with a preprocessing by the actor."""
    return Row(actor, files={"model_file": GLOBAL, "model_preprocessing_file": content})


def new_preprocessing(sender: Callable[[World], Person], to: Callable[[World], str]) -> Row:
    """A preprocessing for a model that is there."""
    return Row(sender, to, files={"model_preprocessing_file": SCRIPTED_PREPROCESSING})


def moments(sender: Callable[[World], Person], to: Callable[[World], str], *statuses: int) -> Row:
    """A participant's SWAG moments."""
    files = {"first_moment_file": FIRST_MOMENT, "second_moment_file": SECOND_MOMENT}
    return Row(sender, to, files=files, statuses=statuses)


def predict(
    model: Callable[[World], str] = in_a_training,
    *statuses: int,
    file: bytes = TENSOR,
    caller: Callable[[World], Person] = actor,
) -> Row:
    """A prediction; with `file` where the input is sent as one."""
    return Row(caller, model=model, files={"model_input": file}, statuses=statuses)


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
    "users.method_not_allowed.no_auth": Row(),
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
    "accept.unsupported": Row(client1),
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

GROUPS: dict[str, Row] = {
    "users.groups.empty": Row(newcomer),
    "users.groups.one": Row(actor, a_group),
    "groups.list.not_superuser": Row(client1),
    **with_defaults("groups.create", Row(client1), "ok", "missing_name", "empty_name", "too_long"),
    "groups.create.duplicate": Row(client1, after="groups.create.ok"),
    **with_defaults("groups", Row(client1), "get.unknown", "get.not_int", "get.negative"),
    **with_defaults(
        "groups",
        Row(outsider, a_group),
        *("get.not_member", "put.not_member", "patch.not_member", "delete.not_member"),
    ),
    "groups.get.superuser_not_member": Row(superuser, a_group, statuses=(200,)),
    "groups.patch.superuser_not_member": Row(superuser, new_group, statuses=(200,)),
    "groups.delete.superuser_not_member": Row(superuser, new_group, statuses=(204,)),
    "groups.get.member": Row(actor, a_group),
    **with_defaults(
        "groups",
        Row(actor, new_group),
        *("put.member.missing", "patch.member", "patch.member.empty", "delete.member"),
    ),
    "groups.get.deleted": Row(actor, lambda world: world.deleted_group()),
}

PREPROCESSING: dict[str, Row] = {
    "models.create.with_preprocessing": with_preprocessing(SCRIPTED_PREPROCESSING),
    "models.create.inf_image_preprocessing": with_preprocessing(IMAGE_PREPROCESSING),
    "models.create.garbage_preprocessing": with_preprocessing(b"garbage"),
    "models.metadata.preprocessing": Row(actor, preprocessed),
    "preprocessing.get.ok": Row(actor, preprocessed),
    "preprocessing.get.outsider": Row(outsider, preprocessed, statuses=(403,)),
    "preprocessing.get.unknown": Row(actor, unknown),
    "preprocessing.get.malformed": Row(actor),
    "preprocessing.get.local": Row(client1, lambda world: world.half.local_model_of(world.client1)),
    "preprocessing.upload.ok": new_preprocessing(actor, lambda world: world.new_model()),
    "preprocessing.upload.again": new_preprocessing(actor, preprocessed),
    "preprocessing.upload.not_owner": new_preprocessing(outsider, preprocessed),
    "preprocessing.upload.missing_file": Row(actor, preprocessed),
    "preprocessing.upload.unknown": new_preprocessing(actor, unknown),
}

KINDS: dict[str, Row] = {
    **with_defaults(
        "models.create", upload(), "type_swag", "type_swag_lower", "for_swag", "swag_untrained"
    ),
    **with_defaults(
        "models.create",
        Row(actor),
        *("mean_json", "mean_json_input_shape", "mean_json_input_shape_str", "mean_none"),
        *("mean_json_input_shape_strnums", "mean_form", "mean_models_string"),
        *("mean_unknown_model", "mean_malformed_uuid", "mean_duplicate_models"),
        "mean_missing_name",
    ),
    "models.create.mean_empty_models": Row(actor, statuses=(400,)),
    "models.create.mean_other_owner": Row(outsider),
    # JSON is JSON, whether its character set is named or not.
    "models.create.json_charset": Row(actor, statuses=(201,)),
    "models.metadata.swag": Row(actor, lambda world: world.swag_model),
    "models.metadata.mean": Row(actor, lambda world: world.mean),
    "models.metadata.mean_clone": Row(actor),
    "models.download.mean": Row(
        actor, lambda world: world.mean, better="<binary: the mean module>"
    ),
    "models.delete.not_owner": Row(outsider, a_model),
    "models.delete.no_auth": Row(None, a_model),
    "models.delete.ok": Row(actor, lambda world: world.new_model()),
    "models.delete.again": Row(actor, lambda world: world.deleted_model()),
    "models.delete.malformed": Row(actor),
    "models.delete.with_training": Row(actor, lambda world: world.new_training().model_id),
    "trainings.get.after_model_delete": Row(actor, lambda world: world.without_model().id),
}

METHODS: dict[str, Row] = {
    "trainings.create.daisy": create_training(),
    "trainings.create.daisy_string": create_training(),
    "trainings.create.daisy_float": create_training(400),
    "trainings.get.daisy": Row(actor, lambda world: world.daisy_chained.id),
    "trainings.models.participant": Row(client1, lambda world: world.initial.id),
    "trainings.models.malformed": Row(actor),
    "trainings.models.participant_with_upload": Row(
        client1, lambda world: world.half.id, statuses=(200,)
    ),
    "trainings.models.after_round": Row(actor, lambda world: world.aggregated.id),
    "trainings.latest": Row(actor, lambda world: world.initial.id),
    "trainings.latest.outsider": Row(outsider, lambda world: world.initial.id, statuses=(403,)),
    "trainings.latest.unknown": Row(actor, unknown),
    "trainings.latest.one_arrived": Row(actor, lambda world: world.half.id),
    "trainings.latest.participant_with_upload": Row(
        client1, lambda world: world.half.id, statuses=(200,)
    ),
    "trainings.create.mean_clone": Row(actor, model=lambda world: world.ensemble, statuses=(201,)),
    "trainings.get.mean_clone": Row(actor),
    "trainings.create.swag": Row(actor, model=lambda world: world.swag_model),
    "trainings.create.swag_clone": Row(
        actor, model=lambda world: world.swag_ongoing.model_id, statuses=(201,)
    ),
    "trainings.start.swag": Row(
        actor,
        lambda world: (
            world.new_training(
                model_id=accepted_model(world.actor, type="SWAG"), uncertainty_method="SWAG"
            ).id
        ),
    ),
    "trainings.get.swag_state": Row(actor, lambda world: world.swag_round.id, says=in_state("S")),
    "trainings.get.swag_after": Row(actor, lambda world: world.swag_testing.id, says=in_state("O")),
    # One of two tests is not all.
    "trainings.get.swag_after_first_metric": Row(
        actor,
        lambda world: world.swag_testing.id,
        after="metrics.create.swag_test.c1",
        says=in_state("O"),
    ),
    "trainings.get.swag_completed": Row(
        actor, lambda world: world.swag_completed.id, says=in_state("C")
    ),
}

MOMENTS: dict[str, Row] = {
    "local.upload.swag_round": update(client1, lambda world: world.swag_ongoing.model_id),
    "swag.upload.wrong_state": moments(client1, lambda world: world.swag_ongoing.model_id),
    "swag.upload.wrong_state_ongoing": moments(client1, lambda world: world.swag_ongoing.model_id),
    **with_defaults(
        "swag.upload",
        moments(client1, lambda world: world.swag_round.model_id),
        *("wrong_round", "missing_field", "missing_file"),
    ),
    "swag.upload.non_participant": moments(outsider, lambda world: world.swag_round.model_id, 403),
    "swag.upload.unknown_model": moments(client1, unknown),
    "swag.upload.no_training": moments(actor, lambda world: world.measured_model),
    "swag.upload.ok.c1": moments(client1, lambda world: world.swag_round.model_id),
    "swag.upload.ok.c2": moments(client2, lambda world: world.new_swag_half().model_id),
    "metrics.list.swag": Row(
        actor,
        lambda world: world.swag_round.model_id,
        after="swag.upload.ok.c1",
        better=[],
        absent="Moment",
    ),
    "metrics.create.swag_test.c1": Row(client1, lambda world: world.swag_testing.model_id),
    "metrics.create.swag_test.c2": Row(client2, lambda world: world.swag_completed.model_id),
}


PREDICTIONS: dict[str, Row] = {
    **with_defaults(
        "inference",
        predict(),
        *("json.none", "json.none.return_json", "json.none.return_binary"),
        *("json.bad_return_format", "json.no_model_id", "json.no_model_input", "json.bad_shape"),
        *("json.bad_shape_more_dims", "json.one_dim", "json.ragged", "json.string_input"),
        *("json.scalar", "json.invalid", "text_plain", "octet_stream", "urlencoded"),
        *("get_not_allowed", "multipart.tensor", "multipart.no_file", "multipart.no_model"),
        "multipart.text_field_json",
    ),
    "inference.json.no_auth": Row(),
    "inference.json.none.outsider": predict(in_a_training, 403, caller=outsider),
    "inference.json.unknown_model": predict(unknown),
    "inference.json.model_without_training": predict(lambda world: world.measured_model, 200),
    "inference.multipart.garbage": Row(actor, model=in_a_training),
    **with_defaults(
        "inference",
        Row(actor, model=in_a_training, model_input=TENSOR_TEXT, better=CLASSES, statuses=(200,)),
        *("json.b64_tensor", "multipart.text_field_b64_tensor"),
    ),
    "inference.image.multipart.noshape": predict(lambda world: world.image_model, file=PNG),
    "inference.image.multipart.shape4": predict(
        lambda world: world.image_model_with_shape, file=PNG
    ),
    "inference.image.json.b64": predict(lambda world: world.image_model),
    "inference.image.pool.json_b64_png": predict(lambda world: world.pooling_model),
    "inference.image.pool.multipart_b64_png": predict(
        lambda world: world.pooling_model, file=base64.b64encode(PNG)
    ),
    "inference.image.pool.json_b64_tensor": Row(
        actor, model=lambda world: world.pooling_model, model_input=TENSOR_TEXT
    ),
    "inference.image.preprocessing.png": predict(
        lambda world: world.preprocessed_image_model, file=PNG
    ),
    "inference.image.preprocessing.tensor": predict(
        lambda world: world.preprocessed_image_model, file=pickled(torch.zeros(1, 3, 20, 20))
    ),
    # Lists of numbers are tensors, for a preprocessing too.
    "inference.image.preprocessing.json_list": predict(
        lambda world: world.preprocessed_image_model, 200
    ),
    "inference.preprocessing.script.tensor": predict(preprocessed),
    "inference.preprocessing.script.json_list": predict(preprocessed, 200),
    "inference.mc_dropout.json": predict(lambda world: world.uncertain),
    "inference.mc_dropout.binary": predict(lambda world: world.uncertain),
    "inference.mc_dropout.softmax_option.json": predict(lambda world: world.softmaxed),
    "inference.mc_dropout.n1.json": predict(lambda world: world.single_pass),
    # Refused when the training is created; the model then is one without a training.
    "inference.mc_dropout.bad_option": predict(
        lambda world: world.refused_training("MC_DROPOUT", N=0), 200
    ),
    "inference.ensemble.on_global_model": predict(
        lambda world: world.refused_training("ENSEMBLE"), 200
    ),
    "inference.ensemble.json": predict(lambda world: world.ensemble),
    "inference.ensemble.binary": predict(lambda world: world.ensemble),
    # There is no model with the name of nothing.
    "inference.ensemble.clone": Row(actor, better={}),
    "inference.mean_model.none.json": predict(lambda world: world.mean, 200),
    "inference.swag.json.after_training": predict(lambda world: world.swag_completed.model_id),
    "inference.swag.binary.after_training": predict(lambda world: world.swag_completed.model_id),
    "inference.swag.untrained": predict(lambda world: world.swag_model),
    "inference.local_model": predict(lambda world: world.aggregated_update, caller=client1),
}

ROWS = (
    USERS
    | AUTHENTICATION
    | MODELS
    | METRICS
    | TRAININGS
    | UPDATES
    | DOCUMENTS
    | GROUPS
    | PREPROCESSING
    | KINDS
    | METHODS
    | MOMENTS
    | PREDICTIONS
)

# What only a server in debug mode answers.
DEBUG_ROWS: dict[str, Row] = {"dummy.get": Row()}
