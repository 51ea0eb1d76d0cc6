"""What goes wrong on demand."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass, field
from typing import Literal

from .messages import RefusalError, Request

Kind = Literal["status", "reset", "stall", "truncate", "unparsable", "cut", "lost"]

#: what Azure says for a status, where a test does not say it
USUAL = {
    400: (
        "BadRequest",
        "The specified subscription has a vCPU quota of 0 and cannot accomodate for at least 1 requested "
        "managed compute node which maps to 4 vCPUs.",
    ),
    401: ("InvalidAuthenticationToken", "The access token is invalid."),
    403: ("AuthorizationFailed", "The client does not have authorization to perform this action over this scope."),
    404: ("ResourceNotFound", "The resource was not found."),
    409: ("Conflict", "Another operation is in progress on this resource."),
    412: ("ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."),
    429: ("TooManyRequests", "The request is being throttled."),
    500: ("InternalServerError", "The server met an unexpected condition."),
    503: ("ServiceUnavailable", "The service is temporarily unavailable."),
}


@dataclass
class Fault:
    """Applied to the next ``times`` requests that match, after ``skip`` others that match.

    status      answered with ``status``, ``code``, ``message`` and ``headers`` in place of the truth
    reset       the connection is reset before the request is looked at
    lost        the request takes effect, then the connection is reset: the answer is lost
    stall       nothing is sent for ``seconds`` or until ``release()``, then the connection is closed
    truncate    the answer's length is announced in full, half of it is sent, the connection is closed
    unparsable  the answer arrives whole with its status and type, and what is in it is half of what it should be
    cut         the connection is reset in the middle of the request's body
    """

    method: str
    where: str
    times: int = 1
    kind: Kind = "status"
    status: int = 500
    code: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 60.0
    skip: int = 0
    inside: bool = False
    hits: int = 0

    def release(self) -> None:
        """End it now: a stalled connection is closed, and no other is spoilt."""
        self.times = self.hits = 0

    def refusal(self) -> RefusalError:
        """Return the error that stands for the answer."""
        code, message = USUAL.get(self.status, ("Error", "An error."))
        return RefusalError(self.status, self.code or code, self.message or message, dict(self.headers))


class Faults:
    """The faults that are waiting for their request."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Add one; it is looked at after those that were added before."""
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._waiting.clear()

    def take(self, request: Request) -> Fault | None:
        """Return the first fault that matches, and count it."""
        where = (request.host + request.path).lower()
        with self._lock:
            for fault in self._waiting:
                if fault.inside != request.inside or fault.hits >= fault.times:
                    continue
                if fault.method not in ("*", request.method) or not fnmatch.fnmatchcase(where, fault.where.lower()):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                return fault
        return None
