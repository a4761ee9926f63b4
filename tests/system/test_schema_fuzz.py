"""schemathesis against a real node: what fits the document and what does not are both answered as it says.

One round in the ordinary tests, with one seed; `make soak` does rounds for ten minutes with seeds of their own
(KITH_FUZZ_MINUTES says otherwise).
"""

import contextlib
import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
import trio
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks as openapi_checks

from tests.system.conftest import StartNode
from tests.system.harness import KithNode, Person, register
from tests.system.test_admin_command import kith_admin

SEED = 20261120
CHECKS = [
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
# Not among them, and why:
# - negative_data_rejection: unknown fields and parameters are ignored here by design (older and newer clients), and a
#   field that means nothing to a request (`cursor` beside `before_seq`) is not read.
# - positive_data_acceptance: a schema cannot say that a conversation exists or that a password is right.
# - not_a_server_error: it takes 503 for a fault; ours is judged below, by the status and by the log.
# - unsupported_method, ignored_auth, missing_required_header: they send requests of their own, without our session;
#   tests/webapi/test_auth_middleware.py and test_error_handling.py ask every route for the same.
# - use_after_free, ensure_resource_availability: they need links between operations, which the document has none of.
FAULTS = {500, 502, 504}
Operation = APIOperation[Any, Any, Any, Any]
Request = Case[Any]


class Fuzzer:
    """Sends what schemathesis makes of the document and gathers what is wrong with the answers."""

    def __init__(self, url: str, people: list[Person], ids: dict[str, str], seed: int, examples: int) -> None:
        self._url = url.rstrip("/")
        self._examples = examples
        self.people = people
        self._ids = ids
        self._chance = random.Random(seed)
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy between us and loopback
        document = self.session.get(f"{self._url}/openapi.json").json()
        self.operations: list[Operation] = [
            operation_of(result) for result in schemathesis.openapi.from_dict(document).get_all_operations()
        ]
        self.statuses: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.wrong: dict[str, str] = {}

    def is_known(self, token: str) -> bool:
        answer = self.session.get(f"{self._url}/users/me", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code == 200

    def round(self) -> None:
        """All operations, with what fits and what does not, with ids at random and with ids that exist."""
        for operation in self.operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                for fixed in (None, self._known(operation)):
                    if fixed != {}:
                        self._one(operation, mode, fixed)

    def _known(self, operation: Operation) -> dict[str, str]:
        """Ids that exist: random ones are all answered with 404."""
        names = [parameter.name for parameter in operation.path_parameters]
        return {name: self._ids[name] for name in names if name in self._ids}

    def _one(self, operation: Operation, mode: GenerationMode, fixed: dict[str, str] | None) -> None:
        try:
            strategy = operation.as_strategy(generation_mode=mode, path_parameters=fixed)
        except Exception as error:  # schemathesis has no negative data for an operation without parameters
            logging.getLogger(__name__).info("no %s data for %s: %s", mode, operation.label, error)
            return
        # Hashing a password takes as long as thirty other requests.
        examples = self._examples // 2 if operation.path.startswith("/auth/") else self._examples

        @hypothesis.seed(self._chance.randrange(2**32))
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=strategy)
        def ask(case: Request) -> None:
            self._ask(case)

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            ask()

    def _ask(self, case: Request) -> None:
        person = self._chance.choice(self.people)
        known = self._chance.random() < 0.85
        headers = {"Authorization": f"Bearer {person.token}"} if known else {}
        name = case.operation.label
        try:
            prefix = "" if "servers" in case.operation.definition.raw else "/api/v1"
            answer = case.call(base_url=self._url + prefix, session=self.session, headers=headers, timeout=30)
        except requests.exceptions.InvalidHeader:
            return  # the client's library refuses to send it
        self.statuses[f"{answer.status_code // 100}xx"] += 1
        self.answered[name] += 1
        if answer.status_code in FAULTS:
            self.wrong.setdefault(f"{name} {answer.status_code}", f"{case.as_curl_command()}\n{answer.text[:500]}")
        try:
            case.validate_response(answer, checks=CHECKS)
        except (FailureGroup, Failure) as failure:
            told = "\n".join(str(one) for one in getattr(failure, "exceptions", [failure]))
            self.wrong.setdefault(f"{name} {answer.status_code}", f"{told[:1500]}\n{case.as_curl_command()}")


async def fuzzer_of(node: KithNode, database_url: str, folder: Path, seed: int, examples: int = 4) -> Fuzzer:
    """Somebody, somebody he talks to, and a platform admin."""
    anna, ben, root = await register(node, "anna"), await register(node, "ben"), await register(node, "root")
    code, _, why = kith_admin(folder, "grant", root.answer["email"], DATABASE_URL=database_url)
    assert code == 0, why
    chat = await anna.chat_with(ben)
    async with anna.http() as http:
        for number in range(3):
            await http.post(f"/api/v1/conversations/{chat}/messages", json={"text": f"hello {number}"})
        page = (await http.get(f"/api/v1/conversations/{chat}/messages")).json()
    ids = {"conversation_id": chat, "user_id": "me", "message_id": page["items"][0]["id"]}
    return await trio.to_thread.run_sync(Fuzzer, node.url, [anna, root], ids, seed, examples)


def operation_of(result: Any) -> Operation:
    """Raises what is wrong with the document there."""
    operation: Operation = result.ok()
    return operation


def judge(fuzzer: Fuzzer, node: KithNode) -> None:
    assert not fuzzer.wrong, "\n\n".join(f"{name}\n{told}" for name, told in fuzzer.wrong.items())
    bugs = [line for line in node.log.read_text().splitlines() if '"request failed"' in line or "Traceback" in line]
    assert not bugs, bugs[:3]
    # It was no fuzzing of the door alone: some got in, some were refused.
    assert fuzzer.statuses["2xx"] > 30
    assert fuzzer.statuses["4xx"] > 100


async def test_nothing_that_fits_or_does_not_fit_the_document_is_answered_otherwise(
    start_node: StartNode, database_url: str, tmp_path: Path
) -> None:
    node = await start_node(RATE_LIMIT_EXEMPT_NETS="127.0.0.0/8")
    fuzzer = await fuzzer_of(node, database_url, tmp_path, SEED, examples=2)
    await trio.to_thread.run_sync(fuzzer.round)
    judge(fuzzer, node)
    assert set(fuzzer.answered) == {operation.label for operation in fuzzer.operations}


@pytest.mark.soak
async def test_nothing_is_answered_otherwise_for_minutes(
    start_node: StartNode, database_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    ends = trio.current_time() + float(os.environ.get("KITH_FUZZ_MINUTES", "10")) * 60
    node = await start_node(RATE_LIMIT_EXEMPT_NETS="127.0.0.0/8")
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", seed)
    while trio.current_time() < ends:
        # New people each time: a round may have signed one out, suspended one or changed a password.
        fuzzer = await fuzzer_of(node, database_url, tmp_path, seed)
        while trio.current_time() < ends and await still_in(fuzzer):
            await trio.to_thread.run_sync(fuzzer.round)
            judge(fuzzer, node)
        record_property("answers", dict(fuzzer.statuses))
        seed += 1


async def still_in(fuzzer: Fuzzer) -> bool:
    tokens = [person.token for person in fuzzer.people]
    return all([await trio.to_thread.run_sync(fuzzer.is_known, token) for token in tokens])
