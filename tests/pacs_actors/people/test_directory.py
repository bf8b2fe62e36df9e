"""Users and roles in a real database: names, defaults, and that somebody always administrates."""

from __future__ import annotations

import pytest
import trio

from pacs_actors.people import first_administrator
from pacs_actors.people.accounts import ADMINISTRATOR, Role, RoleRule, RoleScope, User
from pacs_actors.people.directory import Conflict, UserChange
from pacs_actors.people.rights import Action
from tests.pacs_actors.people.conftest import Desk

DEFAULTS = {"administrator", "radiologist", "technologist", "referring physician", "registrator", "viewer"}


async def administrators(people: Desk) -> list[str]:
    return [
        user.username
        for user in await people.directory.users()
        if user.enabled and ADMINISTRATOR in user.roles
    ]


async def test_the_default_roles_are_there_and_the_administrator_may_do_everything(people: Desk) -> None:
    roles = {role.name: role for role in await people.directory.roles()}
    assert set(roles) == DEFAULTS
    assert set(roles[ADMINISTRATOR].actions) == {action.value for action in Action}
    known = {action.value for action in Action}
    assert all(set(role.actions) <= known and role.description for role in roles.values())
    people_rights = {"people.write", "settings.write", "audit.read", "study.delete"}
    assert not any(people_rights & set(role.actions) for name, role in roles.items() if name != ADMINISTRATOR)


async def test_a_name_is_taken_whatever_its_case(people: Desk) -> None:
    await people.person("Jane")
    with pytest.raises(Conflict):
        await people.person("JANE")
    with pytest.raises(Conflict):
        await people.person("other", "no such role")
    assert [user.username for user in await people.directory.users()] == ["admin", "Jane"]


async def test_the_last_administrator_can_be_neither_disabled_nor_demoted_nor_deleted(people: Desk) -> None:
    (admin,) = await people.directory.users()
    for change in (UserChange(enabled=False), UserChange(roles=("viewer",)), UserChange(roles=())):
        with pytest.raises(Conflict):
            await people.directory.change(admin.id, change)
    with pytest.raises(Conflict):
        await people.directory.delete(admin.id)
    second = await people.person("second", ADMINISTRATOR)
    assert await people.directory.change(admin.id, UserChange(enabled=False)) is not None
    with pytest.raises(Conflict):
        await people.directory.delete(second.id)
    assert await administrators(people) == ["second"]


async def test_two_who_remove_the_last_two_administrators_at_once_leave_one(people: Desk) -> None:
    second = await people.person("second", ADMINISTRATOR)
    (first, _) = await people.directory.users()
    refused = 0

    async def remove(user_id: int) -> None:
        nonlocal refused
        try:
            await people.directory.delete(user_id)
        except Conflict:
            refused += 1

    async with trio.open_nursery() as nursery:
        for user in (first, second):
            nursery.start_soon(remove, user.id)
    assert refused == 1
    assert len(await administrators(people)) == 1


async def test_the_administrators_role_stays_whole_and_others_can_be_changed(people: Desk) -> None:
    roles = {role.name: role for role in await people.directory.roles()}
    whole = roles[ADMINISTRATOR]
    for less in (
        Role(ADMINISTRATOR, "", whole.actions[1:], whole.scope),
        Role(ADMINISTRATOR, "", whole.actions, RoleScope(rules=(RoleRule(modalities=("CT",)),))),
    ):
        with pytest.raises(Conflict):
            await people.directory.replace_role(less)
    with pytest.raises(Conflict):
        await people.directory.delete_role(ADMINISTRATOR)
    scope = RoleScope(rules=(RoleRule(modalities=("CT", "MR"), own_department=True),))
    changed = Role("viewer", "Sees less", ("study.search",), scope)
    assert await people.directory.replace_role(changed)
    assert changed in await people.directory.roles()
    assert not await people.directory.replace_role(Role("no such role"))


async def test_a_role_that_somebody_has_stays(people: Desk) -> None:
    await people.directory.add_role(Role("trainee"))
    with pytest.raises(Conflict):
        await people.directory.add_role(Role("trainee"))
    jane = await people.person("jane", "trainee")
    with pytest.raises(Conflict):
        await people.directory.delete_role("trainee")
    await people.directory.change(jane.id, UserChange(roles=()))
    assert await people.directory.delete_role("trainee")
    assert not await people.directory.delete_role("trainee")


async def test_a_change_keeps_what_it_does_not_name(people: Desk) -> None:
    jane = await people.person(
        "jane", "viewer", display_name="Jane", scope=RoleScope(rules=(RoleRule(studies=("1.2",)),))
    )
    after = await people.directory.change(jane.id, UserChange(email="jane@example"))
    assert after is not None
    assert (after.display_name, after.email, after.roles, after.scope) == (
        "Jane", "jane@example", ("viewer",), jane.scope,
    )  # fmt: skip
    after = await people.directory.change(jane.id, UserChange(scope=None))
    assert after is not None and after.scope is None
    assert await people.directory.change(12345, UserChange(email="x")) is None


async def test_workers_that_start_together_make_one_first_administrator(people: Desk) -> None:
    await people.sql("TRUNCATE users CASCADE")
    shown: list[str | None] = []

    async def start() -> None:
        shown.append(await first_administrator.ensure(people.directory, None))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(start)
    (password,) = [one for one in shown if one is not None]
    assert await administrators(people) == ["admin"]
    login = await people.login("admin", password, "192.0.2.1")
    assert login.principal.actions == frozenset(Action)
    assert await first_administrator.ensure(people.directory, "another password") is None


async def test_a_given_password_is_not_shown(people: Desk) -> None:
    await people.sql("TRUNCATE users CASCADE")
    assert await first_administrator.ensure(people.directory, "seven horses") is None
    assert (await people.login("admin", "seven horses", "192.0.2.1")).user.username == "admin"


async def test_whom_a_provider_knows_is_found_by_its_name_for_them(people: Desk) -> None:
    made = await people.directory.add(User(id=0, username="kim", issuer="https://idp"), None, "subject 1")
    assert await people.directory.by_subject("https://idp", "subject 1") == made
    assert await people.directory.by_subject("https://other", "subject 1") is None
    assert not made.has_password
