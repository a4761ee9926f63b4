"""`kith admin` as an operator uses it: beside a running server, and without one."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import copy_of_var
from tests.system.conftest import StartNode
from tests.system.database import query
from tests.system.harness import KithNode, Person, register
from tests.system.started import CHECKOUT, KITH, environment, folder_for_var

ACTIONS = "select string_agg(action || ' ' || actor, ', ' order by at, id) from admin_actions"


def kith_admin(var: Path, *words: str, **more: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [*KITH, "admin", *words], cwd=CHECKOUT, env=environment(var, **more), capture_output=True, text=True, timeout=90
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("kith: ")]
    return ended.returncode, ended.stdout.strip(), "\n".join(lines)


async def may_look(node: KithNode, person: Person) -> int:
    async with node.http(person.token) as http:
        return (await http.get("/admin/users")).status_code


async def test_a_right_is_given_and_taken_beside_a_running_server(
    start_node: StartNode, database_url: str, tmp_path: Path
) -> None:
    node = await start_node()
    anna = await register(node, "anna")
    here = {"DATABASE_URL": database_url}
    name, email = anna.answer["username"], anna.answer["email"]
    assert await may_look(node, anna) == 403
    code, said, _ = kith_admin(tmp_path, "grant", email.upper(), **here)
    assert (code, said) == (0, f"{name} ({email}) is now a platform admin.")
    assert await may_look(node, anna) == 200, "the same login, at once"
    assert kith_admin(tmp_path, "grant", name.upper(), **here)[:2] == (
        0, f"{name} ({email}) is a platform admin already.",
    )  # fmt: skip
    assert kith_admin(tmp_path, "list", **here)[1] == f"{name}  {email}  {anna.id}  active"
    code, said, _ = kith_admin(tmp_path, "revoke", name, **here)
    assert (code, said.splitlines()[0]) == (0, f"{name} ({email}) is no longer a platform admin.")
    assert "There is no platform admin left" in said
    assert await may_look(node, anna) == 403
    assert kith_admin(tmp_path, "revoke", name, **here)[0] == 0
    assert query(database_url, ACTIONS) == "grant_admin operator, revoke_admin operator"
    heads = "select string_agg(heads::text, ' ' order by at) from flushes where node = 'operator'"
    assert query(database_url, heads) == f'[["u", "{anna.id}", 1, 2]] [["u", "{anna.id}", 2, 3]]'


@pytest.mark.parametrize("person", ["nobody@example.org", "' or 1=1 --", "\udcff"])
def test_who_is_unknown_is_told_in_one_sentence(database_url: str, tmp_path: Path, person: str) -> None:
    code, said, why = kith_admin(tmp_path, "grant", person, DATABASE_URL=database_url)
    assert (code, said) == (1, "")
    assert why.startswith("kith: nobody has the e-mail, the username or the id ")
    assert len(why.splitlines()) == 1


async def test_a_suspended_account_is_not_made_an_admin(
    start_node: StartNode, database_url: str, tmp_path: Path
) -> None:
    anna = await register(await start_node(), "anna")
    query(database_url, "update users set status = 'suspended'")
    code, _, why = kith_admin(tmp_path, "grant", anna.id, DATABASE_URL=database_url)
    assert (code, "is suspended: restore the account first" in why) == (1, True)
    assert query(database_url, "select count(*) from admin_actions") == "0"


def test_it_works_without_a_server(stopped_var: Path) -> None:
    with folder_for_var("kith-admin-") as folder:
        var = copy_of_var(stopped_var, folder.parent)
        code, said, _ = kith_admin(var, "list")
        assert (code, said) == (0, "There is no platform admin; `kith admin grant EMAIL` makes one.")
        code, _, why = kith_admin(var, "grant", "nobody")
        assert (code, why) == (1, "kith: nobody has the e-mail, the username or the id 'nobody'.")
