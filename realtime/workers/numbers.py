"""The numbers of several workers as one Prometheus text. Knows the text format and nothing of who counts what."""

from collections.abc import Mapping
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_UP: Final = ("# HELP up_worker Whether this worker answered with its numbers", "# TYPE up_worker gauge")


def merged(texts: Mapping[int, bytes | None]) -> bytes:
    """Every sample with the label of its worker, family by family; None: this worker did not answer."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for number, text in sorted(texts.items()):
        family = ""
        for line in (text or b"").decode().splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                family = line.split(" ", 3)[2]
                known = heads.setdefault(family, [])
                if line not in known and len(known) < 2:
                    known.append(line)
            elif line and not line.startswith("#"):
                samples.setdefault(family, []).append(labelled(line, number))
    lines = list(_UP)
    lines += [f'up_worker{{worker="{number}"}} {int(text is not None)}' for number, text in sorted(texts.items())]
    for family, head in heads.items():
        lines += head
        lines += samples.get(family, [])
    return ("\n".join(lines) + "\n").encode()


def labelled(sample: str, number: int) -> str:
    """A name holds neither brace nor blank: the first of the two is where the labels are or would be."""
    brace, blank = sample.find("{"), sample.find(" ")
    if brace == -1 or blank < brace:
        return f'{sample[:blank]}{{worker="{number}"}}{sample[blank:]}'
    return f'{sample[: brace + 1]}worker="{number}",{sample[brace + 1 :]}'
