"""`kith serve` that can be asked by a signal to write down the steps of what it does next; otherwise the same node."""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from loadtest.steps import StepRecorder
from realtime.cli import main

SIGNAL: Final = signal.SIGUSR2
FILE_VARIABLE: Final = "KITH_STEPS_FILE"


class Notebook:
    """The first signal begins a recording, the next one ends it and writes it; between two nothing is slower than ever.

    The file is the answer to both: it holds null while a recording goes on, then the list.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._recorder: StepRecorder | None = None

    def asked(self, _number: int, _frame: FrameType | None) -> None:
        """Runs in the main thread, which is trio's; the recorder sees that thread only."""
        if self._recorder is None:
            self._write(None)
            self._recorder = StepRecorder()
            self._recorder.__enter__()
        else:
            recorder, self._recorder = self._recorder, None
            recorder.__exit__()
            self._write(recorder.taken)

    def _write(self, steps: list[str] | None) -> None:
        unfinished = self._file.with_suffix(".part")
        unfinished.write_text(json.dumps(steps), encoding="utf-8")
        unfinished.replace(self._file)


if __name__ == "__main__":
    signal.signal(SIGNAL, Notebook(Path(os.environ[FILE_VARIABLE])).asked)
    sys.exit(main(sys.argv[1:]))
