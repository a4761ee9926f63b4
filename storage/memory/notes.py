"""The twin of SoftWrites: it remembers the latest note of each row."""

from actors.shapes.ids import LoginId, UserId
from actors.shapes.times import WallTime


class MemoryNotes:
    def __init__(self) -> None:
        self.logins: dict[LoginId, WallTime] = {}
        self.users: dict[UserId, WallTime] = {}

    def login_used(self, login: LoginId, at: WallTime) -> None:
        self.logins[login] = at

    def user_seen(self, user: UserId, at: WallTime) -> None:
        self.users[user] = at
