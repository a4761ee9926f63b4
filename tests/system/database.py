"""What the database holds, read past the server."""

import json
from typing import Any

from storage.embedded.binaries import FOLDER, wheel_folder
from storage.embedded.psql import psql

_MESSAGES = """
select coalesce(json_agg(m), '[]') from (
  select id, conversation_id, seq, rev, sender_id, client_id, body as text from messages order by conversation_id, seq
) m
"""


def query(database_url: str, statement: str) -> str:
    return psql(wheel_folder() / FOLDER / "bin", database_url, statement)


def stored_messages(database_url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(query(database_url, _MESSAGES))
    return found
