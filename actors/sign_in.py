"""What a user's actor does with one-time codes and with identities at a provider: the second desk of an account."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from msgspec import Struct, structs

from actors.account import Writer, newborn
from actors.ports import Clock
from actors.rules.totp import (
    RECOVERY_BYTES,
    RECOVERY_CODES,
    SECRET_BYTES,
    Paused,
    Wrong,
    judge,
    kind_of,
    recovery_hash,
    recovery_text,
    typed,
)
from actors.sealing import Seals
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.sign_in import (
    BeginTotp,
    CodeSpent,
    ConfirmTotp,
    DisableTotp,
    LinkIdentity,
    Opening,
    OpenLoginWithIdentity,
    Proof,
    ProveCode,
    RecoverySpent,
    RegisterWithIdentity,
    RenewRecoveryCodes,
    Totp,
    UnlinkIdentity,
)
from actors.shapes.users import Account, DeskCommand, OpenLogin, UserState
from actors.sign_in_ports import SignInStore
from actors.user import AccountAnswer, Desk

T = TypeVar("T")

# Lost to another node that tried a code of the same account in the same moment: five times in a row is a loop.
_ATTEMPTS: Final = 5


class SignInWorld(Struct, frozen=True):
    """What the desks of all users share."""

    store: SignInStore
    seals: Seals
    clock: Clock


class SignInDesk:
    """Serves the commands of this file, asks for a code where a login wants one, and passes on everything else."""

    __slots__ = ("_id", "_others", "_world", "_writer")

    def __init__(self, id: UserId, writer: Writer, world: SignInWorld, others: Desk) -> None:
        self._id = id
        self._writer = writer
        self._world = world
        self._others = others

    async def handle(self, state: UserState | None, command: DeskCommand) -> AccountAnswer:
        """Durable when it returns; what each command is answered with stands where it is defined."""
        store, writer, id = self._world.store, self._writer, self._id
        if isinstance(command, RegisterWithIdentity):
            return await newborn(writer, await store.register(writer, id, command))
        if state is None or state.status == "deleted":
            return await self._others.handle(state, command)
        match command:
            case OpenLogin():
                return await self._open(state, command)
            case OpenLoginWithIdentity():
                opening = Opening(command.login, identity=command.identity, flow=command.flow)
                return AccountAnswer(state, await self._open_proved(opening, command.totp))
            case ProveCode():
                await self._prove(command)
                return AccountAnswer(state, None)
            case BeginTotp():
                return AccountAnswer(state, await self._begin(command))
            case ConfirmTotp():
                return AccountAnswer(state, await self._confirm(command))
            case DisableTotp():
                await self._disable(command)
                return AccountAnswer(state, None)
            case RenewRecoveryCodes():
                return AccountAnswer(state, await self._renew(command))
            case LinkIdentity():
                return AccountAnswer(state, await store.link(writer, id, command))
            case UnlinkIdentity():
                await store.unlink(writer, id, command)
                return AccountAnswer(state, None)
        return await self._others.handle(state, command)

    # -- logins -------------------------------------------------------------------------------------------------------

    async def _open(self, state: UserState, command: OpenLogin) -> AccountAnswer:
        known = await self._world.store.totp(self._id)
        if known is None or not known.active:
            return await self._others.handle(state, command)
        opening = Opening(command.login, checked=command.checked)
        return AccountAnswer(state, await self._open_proved(opening, command.totp))

    async def _open_proved(self, opening: Opening, code: str | None) -> Account:
        async def write(proof: Proof | None) -> Account | None:
            return await self._world.store.open_login(self._writer, self._id, structs.replace(opening, proof=proof))

        return await self._asked(code, write)

    async def _prove(self, command: ProveCode) -> None:
        async def write(proof: Proof | None) -> bool | None:
            return proof is None or await self._world.store.spend_code(self._writer, self._id, proof) or None

        await self._asked(command.totp, write)

    async def _asked(self, code: str | None, write: Callable[[Proof | None], Awaitable[T | None]]) -> T:
        """What `write` does, with a proof if the account asks for a code."""
        known = await self._world.store.totp(self._id)
        if known is None or not known.active:
            done = await write(None)
            assert done is not None, "nothing to prove"
            return done
        if code is None:
            raise KithError(ErrorCode.TOTP_REQUIRED)
        return await self._proved(code, "totp", write)

    # -- one-time codes -----------------------------------------------------------------------------------------------

    async def _begin(self, command: BeginTotp) -> bytes:
        secret = secrets.token_bytes(SECRET_BYTES)
        sealed = self._world.seals.seal(self._purpose, secret)
        if not await self._world.store.begin_totp(self._writer, self._id, sealed, command.checked):
            raise KithError(ErrorCode.FORBIDDEN, "One-time codes are on already: turn them off first")
        return secret

    async def _confirm(self, command: ConfirmTotp) -> list[str]:
        codes = _new_recovery_codes()

        async def write(proof: Proof) -> bool | None:
            hashes = _hashes(codes)
            return await self._world.store.confirm_totp(self._writer, self._id, proof, hashes) or None

        await self._proved(command.code, "code", write, active=False)
        return codes

    async def _disable(self, command: DisableTotp) -> None:
        async def write(proof: Proof) -> bool | None:
            return await self._world.store.disable_totp(self._writer, self._id, proof, command.checked) or None

        await self._proved(command.code, "code", write)

    async def _renew(self, command: RenewRecoveryCodes) -> list[str]:
        codes = _new_recovery_codes()

        async def write(proof: Proof) -> bool | None:
            hashes = _hashes(codes)
            return (
                await self._world.store.renew_recovery(self._writer, self._id, proof, hashes, command.checked) or None
            )

        await self._proved(command.code, "code", write)
        return codes

    async def _proved(
        self, code: str, field: str, write: Callable[[Proof], Awaitable[T | None]], *, active: bool = True
    ) -> T:
        """What `write` does with the proof that this code is. It says None when somebody else was faster."""
        for _ in range(_ATTEMPTS):
            known = await self._world.store.totp(self._id)
            if known is None or known.active is not active:
                raise KithError(ErrorCode.CONTENT_NOT_FOUND, "There is no secret of that kind")
            if active and kind_of(code) == "recovery":
                done = await write(RecoverySpent(recovery_hash(code)))
                if done is None:  # unknown or used; nobody races for one of these
                    raise _wrong(field)
                return done
            proof = await self._judged(known, code, field)
            done = None if proof is None else await write(proof)
            if done is not None:
                return done
        raise KithError(ErrorCode.TRY_AGAIN, outcome="none")

    async def _judged(self, known: Totp, code: str, field: str) -> CodeSpent | None:
        """None: somebody else tried one meanwhile."""
        opened = self._world.seals.open(self._purpose, known.sealed)
        if opened is None:
            # The operator lost the secret this was sealed under. Recovery codes are good all the same.
            raise KithError(ErrorCode.ENCRYPTION_ERROR, "One-time codes cannot be checked: use a recovery code")
        secret, stale = opened
        verdict = judge(secret, known.guard, typed(code), self._world.clock.now())
        if isinstance(verdict, Paused):
            raise KithError(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                "Too many wrong codes",
                details={"field": field},
                retry_after=verdict.wait,
            )
        if isinstance(verdict, Wrong):
            if await self._world.store.note_failure(self._writer, self._id, verdict.before, verdict.after):
                raise _wrong(field)
            return None
        resealed = self._world.seals.seal(self._purpose, secret) if stale else None
        return structs.replace(verdict, resealed=resealed)

    @property
    def _purpose(self) -> str:
        return f"totp of {self._id}"


def _new_recovery_codes() -> list[str]:
    return [recovery_text(secrets.token_bytes(RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def _hashes(codes: Sequence[str]) -> list[bytes]:
    return [recovery_hash(code) for code in codes]


def _wrong(field: str) -> KithError:
    return KithError(ErrorCode.INVALID_CREDENTIALS, "The one-time code is wrong", details={"field": field})
