"""The mark of an ordered stop."""

from pathlib import Path

import pytest

from realtime.last_stop import crashed_before, note_order
from realtime.refusal import RefusalError


def test_only_a_life_that_ended_without_a_mark_was_a_crash(tmp_path: Path) -> None:
    assert not crashed_before(tmp_path), "a new folder has no past"
    assert crashed_before(tmp_path), "the first life left no mark"
    note_order(tmp_path)
    assert not crashed_before(tmp_path)
    assert crashed_before(tmp_path)


def test_a_folder_that_takes_nothing_is_one_sentence(tmp_path: Path) -> None:
    """A full disk ended the start with a traceback."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RefusalError, match=f"KITH_VAR={file} cannot be written: Not a directory"):
        crashed_before(file)


def test_a_mark_that_cannot_be_written_is_no_reason_to_fail_a_stop(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    note_order(file / "below")
