import secrets
from collections.abc import Callable

import httpx
import pytest

from tests.accounts import another_superuser
from tests.federations import People, Person

UNKNOWN_ID = 999_999


def new_name() -> str:
    return f"group-{secrets.token_hex(4)}"


def new_group(person: Person, name: str | None = None) -> int:
    answer = person.client.post("/api/groups/", json={"name": name or new_name()})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


@pytest.fixture
def member(make_user: People) -> Person:
    return make_user()


@pytest.fixture
def outsider(make_user: People) -> Person:
    return make_user()


@pytest.fixture
def superuser(make_user: People) -> Person:
    return another_superuser(make_user)


SENDERS: dict[str, Callable[[httpx.Client, dict[str, str]], httpx.Response]] = {
    "json": lambda client, fields: client.post("/api/groups/", json=fields),
    "urlencoded": lambda client, fields: client.post("/api/groups/", data=fields),
    "multipart": lambda client, fields: client.post(
        "/api/groups/", files={key: (None, value) for key, value in fields.items()}
    ),
}


@pytest.mark.parametrize("way", SENDERS)
def test_the_creator_of_a_group_is_its_member(member: Person, way: str) -> None:
    name = new_name()

    answer = SENDERS[way](member.client, {"name": name})

    assert answer.status_code == 201, answer.text
    group = answer.json()
    assert group == {"id": group["id"], "name": name}
    assert member.client.get(f"/api/groups/{group['id']}/").json() == group
    assert member.client.get("/api/users/groups/").json() == [group]


def test_who_is_in_no_group_has_none(member: Person) -> None:
    assert member.client.get("/api/users/groups/").json() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({}, "This field is required.", id="missing"),
        pytest.param({"name": ""}, "This field may not be blank.", id="empty"),
        pytest.param({"name": "  "}, "This field may not be blank.", id="spaces"),
        pytest.param(
            {"name": "g" * 151}, "Ensure this field has no more than 150 characters.", id="long"
        ),
    ],
)
def test_a_bad_name_is_refused_in_the_contracts_words(
    member: Person, body: dict[str, str], message: str
) -> None:
    answer = member.client.post("/api/groups/", json=body)

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"name": [message]}
    assert "name" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"name": 7}, id="number"),
        pytest.param({"name": None}, id="null"),
        pytest.param({"name": "a\0b"}, id="nul"),
        pytest.param({"name": "fine", "id": 1}, id="own-id"),
        pytest.param(["fine"], id="list"),
    ],
)
def test_a_body_of_another_shape_is_refused(member: Person, body: object) -> None:
    answer = member.client.post("/api/groups/", json=body)

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)
    assert member.client.get("/api/users/groups/").json() == []


def test_a_name_is_given_once(member: Person, outsider: Person) -> None:
    name = new_name()
    new_group(member, name)
    other = new_group(outsider)

    created = outsider.client.post("/api/groups/", json={"name": name})
    renamed = outsider.client.patch(f"/api/groups/{other}/", json={"name": name})

    assert created.status_code == renamed.status_code == 400
    assert created.json()["errors"] == {"name": ["group with this name already exists."]}
    assert renamed.json() == created.json()


def test_only_superusers_list_all_groups(member: Person, superuser: Person) -> None:
    group_id = new_group(member)

    refused = member.client.get("/api/groups/")
    listed = superuser.client.get("/api/groups/")

    assert refused.status_code == 403
    assert refused.json()["detail"] == "You are not allowed to access all groups."
    assert group_id in {group["id"] for group in listed.json()}


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {"name": "new"}),
        ("PATCH", "", {"name": "new"}),
        ("DELETE", "", None),
        ("GET", "members/", None),
        ("PUT", "members/", {"users": []}),
        ("DELETE", "members/", {"users": []}),
    ],
)
def test_who_is_no_member_gets_nowhere(
    member: Person, outsider: Person, method: str, suffix: str, body: object
) -> None:
    path = f"/api/groups/{new_group(member)}/{suffix}"

    answer = outsider.client.request(method, path, json=body)

    assert answer.status_code == 403
    assert answer.json()["detail"] == "You are not allowed to access this group."


def test_a_member_renames_a_group(member: Person) -> None:
    group_id = new_group(member)
    path = f"/api/groups/{group_id}/"
    put, patched = new_name(), new_name()

    assert member.client.put(path, json={"name": put}).json() == {"id": group_id, "name": put}
    assert member.client.patch(path, data={"name": patched}).json()["name"] == patched
    assert member.client.patch(path, json={}).json()["name"] == patched
    assert member.client.get(path).json()["name"] == patched


def test_put_needs_a_name(member: Person) -> None:
    answer = member.client.put(f"/api/groups/{new_group(member)}/", json={})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"name": ["This field is required."]}


def test_a_superuser_may_do_what_members_may(member: Person, superuser: Person) -> None:
    path = f"/api/groups/{new_group(member)}/"

    assert superuser.client.get(path).status_code == 200
    assert superuser.client.patch(path, json={"name": new_name()}).status_code == 200
    assert superuser.client.delete(path).status_code == 204


def test_a_deleted_group_is_gone_for_its_members(member: Person) -> None:
    path = f"/api/groups/{new_group(member)}/"

    deleted = member.client.delete(path)

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert member.client.get(path).status_code == 400
    assert member.client.get("/api/users/groups/").json() == []


@pytest.mark.parametrize("given", [str(UNKNOWN_ID), "2147483648", "9" * 40])
def test_an_unknown_group_is_a_400(member: Person, given: str) -> None:
    answer = member.client.get(f"/api/groups/{given}/")

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Group {given} not found."


@pytest.mark.parametrize("given", ["abc", "-1", "1.5", "%C2%B2"])
def test_what_is_no_number_is_a_404(member: Person, given: str) -> None:
    answer = member.client.get(f"/api/groups/{given}/")

    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


def test_members_are_added_and_removed(member: Person, outsider: Person) -> None:
    path = f"/api/groups/{new_group(member)}/members/"
    both = {"users": [member.id, outsider.id]}

    added = member.client.put(path, json={"users": [outsider.id, outsider.id, member.id]})
    seen_by_the_new_one = outsider.client.get(path)
    removed = outsider.client.request("DELETE", path, json={"users": [member.id]})

    assert (added.status_code, added.json()) == (200, both)
    assert seen_by_the_new_one.json() == both
    assert (removed.status_code, removed.json()) == (200, {"users": [outsider.id]})
    assert member.client.get(path).status_code == 403


def test_unknown_users_do_not_become_members(member: Person, outsider: Person) -> None:
    path = f"/api/groups/{new_group(member)}/members/"
    unknown = "00000000-0000-0000-0000-000000000000"

    answer = member.client.put(path, json={"users": [outsider.id, unknown]})

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"users": ["Not all provided users were found!"]}
    assert member.client.get(path).json() == {"users": [member.id]}
