"""`kith admin grant | revoke | list`: who may use `/admin`; works beside a running server and without one."""

import trio

from realtime.commands.database import bring_up_to_date, command_database
from realtime.refusal import RefusalError
from realtime.settings import Settings
from storage.grants import admins, set_admin


def admin(settings: Settings, deed: str, person: str) -> int:
    with command_database(settings) as url:
        trio.run(bring_up_to_date, url)
        if deed == "list":
            return list_admins(url)
        return change_admin(url, person, is_admin=deed == "grant")


def change_admin(url: str, person: str, *, is_admin: bool) -> int:
    # What a shell could not decode is nobody's name, and the database would not take it.
    outcome, found = trio.run(set_admin, url, person, is_admin) if person.isprintable() else ("nobody", None)
    if found is None:
        raise RefusalError(f"nobody has the e-mail, the username or the id {person!r}.")
    name = f"{found.username} ({found.email})"
    if outcome == "suspended":
        raise RefusalError(f"{name} is suspended: restore the account first.")
    if outcome == "already":
        print(f"{name} is {'a platform admin already' if is_admin else 'no platform admin'}.")
    else:
        print(f"{name} is {'now' if is_admin else 'no longer'} a platform admin.")
    if not is_admin and not trio.run(admins, url):
        print("There is no platform admin left; `kith admin grant` makes one.")
    return 0


def list_admins(url: str) -> int:
    found = trio.run(admins, url)
    for one in found:
        print(f"{one.username}  {one.email}  {one.id}  {one.status}")
    if not found:
        print("There is no platform admin; `kith admin grant EMAIL` makes one.")
    return 0
