"""What the doctor found: chapters of facts, and findings that say what would break; as text or as JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from realtime.commands.database import sentence
from realtime.refusal import RefusalError
from storage.database_errors import DatabaseError
from storage.embedded.errors import EmbeddedError

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """`sentence` is what is the case, `consequence` what comes of it; `breaks` decides the exit code."""

    sentence: str
    consequence: str
    breaks: bool

    def __str__(self) -> str:
        return f"{self.sentence} {self.consequence}".strip()


@dataclass
class Report:
    chapters: dict[str, Rows] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def chapter(self, title: str, rows: Rows) -> None:
        if rows:
            self.chapters[title] = rows

    def problem(self, sentence: str, consequence: str = "") -> None:
        """Something would not work."""
        self.findings.append(Finding(sentence, consequence, breaks=True))

    def note(self, sentence: str, consequence: str = "") -> None:
        """It works, and an operator would want to know."""
        self.findings.append(Finding(sentence, consequence, breaks=False))

    @property
    def problems(self) -> list[str]:
        return [str(finding) for finding in self.findings if finding.breaks]

    @property
    def notes(self) -> list[str]:
        return [str(finding) for finding in self.findings if not finding.breaks]

    @contextmanager
    def catching(self) -> Iterator[None]:
        """What stops a start must not stop the report on it."""
        try:
            yield
        except (RefusalError, DatabaseError, EmbeddedError) as error:
            self.problem(sentence(error))

    @property
    def verdict(self) -> str:
        """What most want to know, and at the beginning, where nothing has scrolled away yet."""
        problems, notes = len(self.problems), len(self.notes)
        breaks = (
            f"{problems} {'thing' if problems == 1 else 'things'} would break" if problems else "Nothing would break"
        )
        if notes:
            breaks += f", {notes} {'note' if notes == 1 else 'notes'}"
        return f"{breaks}; see the end." if problems or notes else f"{breaks}."

    def text(self) -> str:
        parts = [self.verdict]
        for title, rows in self.chapters.items():
            width = max(len(name) for name, _ in rows)
            parts.append("\n".join([title, *(f"  {name:<{width}}  {value}".rstrip() for name, value in rows)]))
        parts += [f"Note: {note}" for note in self.notes]
        parts += [f"Would break: {problem}" for problem in self.problems] or ["Nothing would break."]
        return "\n\n".join(parts)

    def json(self) -> str:
        findings = [
            {"breaks": finding.breaks, "sentence": finding.sentence, "consequence": finding.consequence}
            for finding in self.findings
        ]
        chapters = {title: dict(rows) for title, rows in self.chapters.items()}
        return json.dumps({"ok": not self.problems, "chapters": chapters, "findings": findings}, indent=2)
