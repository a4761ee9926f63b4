"""One schedule for all: trio shuffles the tasks that are ready together, here it shuffles them alike in every run."""

import importlib

import pytest


@pytest.fixture(autouse=True)
def the_same_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = importlib.import_module("trio._core._run")  # what trio itself hands to hypothesis for this purpose
    monkeypatch.setattr(runner, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    runner._r.seed(2026)
