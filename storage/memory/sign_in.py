"""One-time codes and identities in memory: the twin of storage/sign_in.py for tests; passes the same contract."""

from collections.abc import Sequence

from msgspec import Struct, field

from actors.ports import AccountStore, WriteToken
from actors.rules.accounts import NO_PASSWORD
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.sign_in import (
    CodeSpent,
    FlowSpent,
    Guard,
    IdentityView,
    LinkIdentity,
    Opening,
    Proof,
    ProviderIdentity,
    RegisterWithIdentity,
    Totp,
    UnlinkIdentity,
)
from actors.shapes.times import iso
from actors.shapes.users import Account, Register


class TotpRow(Struct):
    sealed: bytes
    active: bool = False
    guard: Guard = Guard()
    recovery: dict[bytes, bool] = field(default_factory=dict)  # whether it is still good


class MemorySignIn:
    def __init__(self, accounts: AccountStore) -> None:
        self._accounts = accounts
        self._totp: dict[UserId, TotpRow] = {}
        self._identities: dict[tuple[str, str], tuple[UserId, IdentityView]] = {}
        self._flows: set[str] = set()

    async def totp(self, id: UserId) -> Totp | None:
        row = self._totp.get(id)
        return None if row is None else Totp(row.sealed, row.active, row.guard, sum(row.recovery.values()))

    async def begin_totp(self, token: WriteToken, id: UserId, sealed: bytes, checked: str) -> bool:
        await self._check(token, id, checked)
        row = self._totp.get(id)
        if row is not None and row.active:
            return False
        self._totp[id] = TotpRow(sealed)
        return True

    async def confirm_totp(self, token: WriteToken, id: UserId, proof: Proof, recovery: Sequence[bytes]) -> bool:
        await self._check(token, id)
        row = self._totp.get(id)
        if row is None or row.active or not _prove(row, proof):
            return False
        row.active, row.recovery = True, dict.fromkeys(recovery, True)
        return True

    async def note_failure(self, token: WriteToken, id: UserId, before: Guard, after: Guard) -> bool:
        await self._check(token, id)
        row = self._totp.get(id)
        return row is not None and _prove(row, CodeSpent(before, after))

    async def spend_code(self, token: WriteToken, id: UserId, proof: Proof) -> bool:
        await self._check(token, id)
        row = self._totp.get(id)
        return row is not None and row.active and _prove(row, proof)

    async def disable_totp(self, token: WriteToken, id: UserId, proof: Proof, checked: str) -> bool:
        await self._check(token, id, checked)
        row = self._totp.get(id)
        if row is None:
            return True
        if not row.active or not _prove(row, proof):
            return False
        del self._totp[id]
        return True

    async def renew_recovery(
        self, token: WriteToken, id: UserId, proof: Proof, recovery: Sequence[bytes], checked: str
    ) -> bool:
        await self._check(token, id, checked)
        row = self._totp.get(id)
        if row is None or not row.active or not _prove(row, proof):
            return False
        row.recovery = dict.fromkeys(recovery, True)
        return True

    async def open_login(self, token: WriteToken, id: UserId, opening: Opening) -> Account | None:
        await self._check(token, id, opening.checked)
        identity = opening.identity
        known = await self._accounts.credentials_of(id)
        if identity is not None:
            owner = self._identities.get(_key(identity))
            if owner is None or owner[0] != id or known is None or known.status != "active":
                raise KithError(ErrorCode.INVALID_CREDENTIALS)
        if opening.flow is not None and opening.flow.id in self._flows:
            raise _flow_spent()
        if opening.proof is not None:
            row = self._totp.get(id)
            if row is None or not row.active or not _prove(row, opening.proof):
                return None
        if opening.flow is not None:
            self._spend(opening.flow)
        return await self._accounts.open_login(token, id, opening.login)

    async def owner(self, issuer: str, subject: str) -> UserId | None:
        found = self._identities.get((issuer, subject))
        return None if found is None else found[0]

    async def identities(self, id: UserId) -> list[IdentityView]:
        mine = [view for owner, view in self._identities.values() if owner == id]
        return sorted(mine, key=lambda view: (view.created_at, view.id))

    async def register(self, token: WriteToken, id: UserId, command: RegisterWithIdentity) -> Account:
        await self._check(token, id)
        if command.flow.id in self._flows or _key(command.identity) in self._identities:
            raise _flow_spent()
        new = Register(command.email, command.username, False, NO_PASSWORD, command.login)
        account = await self._accounts.register(token, id, new)
        self._spend(command.flow)
        view = _view(LinkIdentity(command.identity_id, command.identity, command.flow, command.login.created_at))
        self._identities[_key(command.identity)] = (id, view)
        return account

    async def link(self, token: WriteToken, id: UserId, command: LinkIdentity) -> tuple[IdentityView, bool]:
        await self._check(token, id)
        if command.flow.id in self._flows:
            raise _flow_spent()
        owner, view = self._identities.get(_key(command.identity), (id, _view(command)))
        if owner != id:
            raise KithError(ErrorCode.FORBIDDEN, "This sign-in belongs to another account")
        self._spend(command.flow)
        self._identities[_key(command.identity)] = (id, view)
        return view, view.id == command.id

    async def unlink(self, token: WriteToken, id: UserId, command: UnlinkIdentity) -> None:
        await self._check(token, id)
        mine = {key: view for key, (owner, view) in self._identities.items() if owner == id}
        found = next((key for key, view in mine.items() if view.id == command.id), None)
        if found is None:
            raise KithError(ErrorCode.CONTENT_NOT_FOUND, "No such identity")
        known = await self._accounts.credentials_of(id)
        assert known is not None
        others = [key for key in mine if key != found and key[0] == command.issuer]
        if known.password_hash == NO_PASSWORD and not others:
            raise KithError(ErrorCode.FORBIDDEN, "This is the only way into the account: set a password first")
        del self._identities[found]

    def _spend(self, flow: FlowSpent) -> None:
        self._flows.add(flow.id)

    async def _check(self, token: WriteToken, id: UserId, checked: str | None = None) -> None:
        if not token.valid:
            raise KithError(ErrorCode.UNAVAILABLE, "This actor has ended", outcome="none")
        if checked is not None:
            known = await self._accounts.credentials_of(id)
            if known is None or known.password_hash != checked or known.status != "active":
                raise KithError(ErrorCode.INVALID_CREDENTIALS)


def _prove(row: TotpRow, proof: Proof) -> bool:
    if isinstance(proof, CodeSpent):
        if (row.guard.last_step, row.guard.failures) != (proof.before.last_step, proof.before.failures):
            return False
        row.guard = proof.after
        row.sealed = proof.resealed or row.sealed
        return True
    good = row.recovery.get(proof.code_hash, False)
    if good:
        row.recovery[proof.code_hash] = False
    return good


def _key(identity: ProviderIdentity) -> tuple[str, str]:
    return identity.issuer, identity.subject


def _view(link: LinkIdentity) -> IdentityView:
    return IdentityView(link.id, link.identity.issuer, link.identity.email, iso(link.at))


def _flow_spent() -> KithError:
    return KithError(ErrorCode.INVALID_CREDENTIALS, details={"field": "flow"})
