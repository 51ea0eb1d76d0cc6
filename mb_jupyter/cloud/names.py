"""What things in Azure may be called: told before anything is asked of the network, all of it at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from mb_jupyter import naming
from mb_jupyter.errors import AzureError

US, AZURE = "Model Builder", "Azure"
WORKSPACE_LENGTH = (3, 33)
COMPUTE_LENGTH = (2, 16)
AZURE_COMPUTE_LEAST = 3  # today; ours would allow 2
GROUP_LENGTH = (1, 90)


@dataclass(frozen=True)
class Finding:
    """One thing to know about what was asked for; an ``error`` must be put right before it can be made.

    ``says`` is who demands it.
    """

    severity: str  # error, warning or info
    message: str
    says: str = US

    def __str__(self) -> str:
        return f"{self.severity}: {self.message} ({self.says})"


def check_workspace_name(name: str) -> list[Finding]:
    """Return what is wrong with the name of a workspace; nothing when it can be used."""
    found = _length(name, "workspace", WORKSPACE_LENGTH) + _characters(name, "workspace")
    if name.startswith("-"):
        found.append(Finding("error", "A workspace's name begins with a letter or a digit.", AZURE))
    return found


def check_compute_name(name: str) -> list[Finding]:
    """Return what is wrong with the name of a compute, by our rule and by Azure's own."""
    found = _length(name, "compute", COMPUTE_LENGTH) + _characters(name, "compute")
    if len(name) == COMPUTE_LENGTH[0] < AZURE_COMPUTE_LEAST:
        found.append(Finding("error", f"Azure wants at least {AZURE_COMPUTE_LEAST} characters today.", AZURE))
    if name and not re.match(r"[A-Za-z]", name):
        found.append(Finding("error", "A compute's name begins with a letter.", AZURE))
    if re.search(r"-[0-9]+\Z", name):
        found.append(Finding("error", "A compute's name does not end with a hyphen and digits.", AZURE))
    if name.endswith("-"):
        found.append(Finding("error", "A compute's name does not end with a hyphen.", AZURE))
    return found


def check_resource_group_name(name: str) -> list[Finding]:
    """Return what is wrong with the name of a resource group."""
    found = _length(name, "resource group", GROUP_LENGTH, AZURE)
    odd = _odd(name, r"[^\w.()-]")
    if odd:
        allowed = "letters, digits, underscores, parentheses, hyphens and full stops"
        found.append(Finding("error", f"A resource group's name has only {allowed}{odd}.", AZURE))
    if name.endswith("."):
        found.append(Finding("error", "A resource group's name does not end with a full stop.", AZURE))
    return found


def check_experiment_name(name: str) -> list[Finding]:
    """Return what is wrong with the name of an experiment, and what it is called in Azure when that is not the same."""
    if said := naming.problem(name):
        return [Finding("error", f"This cannot be its name. {said}", US)]
    there = naming.in_azure(name)
    return [] if there == naming.clean(name) else [Finding("info", f"In Azure it is called {there}.", AZURE)]


def require(findings: Iterable[Finding], what: str) -> None:
    """Raise ``AzureError`` with every error among the findings."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        told = " ".join(f"{error.message} (demanded by {error.says})" for error in errors)
        raise AzureError(
            f"{what} cannot be made as asked: {told}", "Correct it and run the cell again; nothing was made."
        )


def free_name(wanted: str, taken: Iterable[str], check: Callable[[str], list[Finding]] = check_compute_name) -> str:
    """Return a name like ``wanted`` that may be used and that nothing has yet; Azure does not tell a from A."""
    known = {name.casefold() for name in taken}
    longest = COMPUTE_LENGTH[1] if check is check_compute_name else WORKSPACE_LENGTH[1]
    plain = re.sub(r"[^A-Za-z0-9]+", "-", wanted).strip("-")
    plain = re.sub(r"-[0-9]+\Z", "", plain)
    if not re.match(r"[A-Za-z]", plain):
        plain = f"mb-{plain}".rstrip("-")
    for number in count():
        tail = "" if number == 0 else _letters(number)
        name = f"{plain[: longest - len(tail)].rstrip('-')}{tail}"
        if name.casefold() not in known and not any(finding.severity == "error" for finding in check(name)):
            return name
    raise AssertionError("count() has no end")  # pragma: no cover


def _letters(number: int) -> str:
    """Return ``-b``, ``-c`` ... ``-z``, then ``-x27`` ...: never a hyphen and digits, which Azure forbids."""
    return f"-{chr(ord('a') + number)}" if number < 26 else f"-x{number + 1}"


def _length(name: str, what: str, limits: tuple[int, int], says: str = US) -> list[Finding]:
    least, most = limits
    if least <= len(name) <= most:
        return []
    has = "it is empty" if not name else f"{name!r} has {len(name)}"
    return [Finding("error", f"A {what}'s name has {least} to {most} characters; {has}.", says)]


def _characters(name: str, what: str) -> list[Finding]:
    if not re.search(r"[^A-Za-z0-9-]", name):
        return []
    return [
        Finding("error", f"A {what}'s name has only letters a-z, digits and hyphens{_odd(name, r'[^A-Za-z0-9-]')}.")
    ]


def _odd(name: str, pattern: str) -> str:
    odd = list(dict.fromkeys(re.findall(pattern, name)))
    return f", not {' '.join(repr(each) for each in odd)}" if odd else ""
