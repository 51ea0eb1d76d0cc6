"""What goes over the wire, as values: a request, a reply, a refusal, an exchange of both."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Request:
    """A request as the route's function sees it; ``at`` holds the parts that its pattern names."""

    method: str
    host: str
    target: str
    headers: Message
    body: bytes = b""
    inside: bool = False  # came from a node of the cluster, not from the client under test
    at: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path as it was sent, without its percent signs."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The query; of a repeated name the last value."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def content(self) -> bytes:
        """The body, unpacked: the SDK sends some of them gzipped."""
        return gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body

    def json(self) -> Any:
        """Return the body as JSON; an empty one is an empty object."""
        return json.loads(self.content or b"{}")

    def form(self) -> dict[str, str]:
        """Return the body as the fields of a form."""
        return dict(parse_qsl(self.content.decode(errors="replace")))


@dataclass
class Reply:
    """What is sent back: JSON, or bytes as they are, or nothing."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        """Return the bytes and their content type."""
        if self.body is None:
            return b"", ""
        if isinstance(self.body, bytes):
            return self.body, "application/octet-stream"
        return json.dumps(self.body).encode(), "application/json; charset=utf-8"


class RefusalError(Exception):
    """An answer that is an error; each host has its own shape for it (``body_for``)."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def reply(self, request: Request) -> Reply:
        """Return the error as the asked host words it."""
        if "/mlflow/" in request.path:
            body: Any = {"error_code": self.code, "message": self.message}
        elif request.host.startswith("login."):
            body = {"error": self.code, "error_description": self.message}
        elif ".blob." in request.host:
            error = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
            text = f'<?xml version="1.0" encoding="utf-8"?>{error}'
            headers = {"x-ms-error-code": self.code, "Content-Type": "application/xml", **self.headers}
            return Reply(self.status, text.encode(), headers)
        else:
            body = {"error": {"code": self.code, "message": self.message}}
        return Reply(self.status, body, self.headers)


@dataclass
class Exchange:
    """One request and its answer, kept for the checks and for the test."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    request: Any
    status: int
    reply: Any
    inside: bool
    fault: str = ""  # the kind of the fault that was applied, if one was
    time: float = field(default_factory=time.time)

    @property
    def where(self) -> str:
        """Host and path, the thing patterns are matched against."""
        return self.host + self.path

    @property
    def api_version(self) -> str:
        """What the client asked for, or an empty text."""
        return self.query.get("api-version", "")

    def __str__(self) -> str:
        fault = f" [{self.fault}]" if self.fault else ""
        return f"{self.method} {self.where} {self.api_version} -> {self.status}{fault}"
