"""docs/bad-input.md: each case with the message that it got."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cases.case import Case
from cases.command import ROOT

PATH = ROOT / "docs" / "bad-input.md"
NAMES = {
    r"\d{4}-\d\d-\d\dT[\d.]+Z": "<version>",
    r"\b(digest|says|content|with) [0-9a-f]{12}\b": r"\1 <digest>",
    r"x{20,}": "xxx…",
    r"(Duplicate keys found in) \S+ and \S+:": r"\1 <two files>:",
    r"\[Errno \d+\] ": "",
}
"""What is another in every run (Kedro reads files in any order) or on every system, and what stands for it."""
HEADING = """# Bad input, and what is said of it

Made by `make bad-input`, which is `python -m pytest tests/bad_input --write-table`: each row is run by the test that
checks it, through click's runner, and {processes} of them, marked with *, as processes of their own too. Each ends with
an exit code that is not zero, in at most five lines without a traceback, and before anything is computed: no image is
generated, no file is written and no MLflow run is started. Those marked with † are found by the first node that reads
them, before it computes anything. … stands for a folder of the machine.

{count} cases: {subjects}.

| subject | what is wrong | message |
|---|---|---|
"""


def render(messages: Mapping[Case, str] | Sequence[tuple[Case, str]]) -> str:
    """The whole page."""
    rows = list(messages.items()) if isinstance(messages, Mapping) else list(messages)
    subjects = [case.subject for case, _ in rows]
    counts = ", ".join(f"{subjects.count(subject)} of {subject}" for subject in dict.fromkeys(subjects))
    processes = sum(case.process for case, _ in rows)
    head = HEADING.format(count=len(rows), subjects=counts, processes=processes)
    return head + "".join(_row(case, message) for case, message in rows)


def _row(case: Case, message: str) -> str:
    marks = "*" * case.process + "†" * case.late
    cells = (case.subject, case.wrong + (f" {marks}" if marks else ""), message)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _cell(text: str) -> str:
    """Characters that Markdown would take for its own, as they stand."""
    return re.sub(r"([|*<])", r"\\\1", text)


def neutral(message: str, folders: Sequence[Path]) -> str:
    """The message without the machine's folders (the longest first), versions, digests and numbers of errors."""
    for folder in sorted({str(each) for each in folders}, key=len, reverse=True):
        message = message.replace(folder, "…")
    for pattern, instead in NAMES.items():
        message = re.sub(pattern, instead, message)
    return message
