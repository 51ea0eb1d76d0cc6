"""Requests to Azure with the pipeline that azure-core brings: token, retries, proxy, no SDK to import.

Lists follow ``nextLink``; a long-running operation is waited for with :meth:`Arm.wait`. A connection that was reset, an
answer that was cut off and one that is no JSON are the same to azure-core's retry policy, whatever the method.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from .translate import translated, was_cut_off

HOST = "https://management.azure.com"
SCOPE = "https://management.azure.com/.default"
POLL_SECONDS = 5.0
CONNECT_SECONDS, READ_SECONDS = 10, 60  # a stalled connection is given up, and tried again
ENDED = ("succeeded", "failed", "canceled", "cancelled")
VERBS = {"GET": "reading", "PUT": "writing", "PATCH": "changing", "POST": "asking for", "DELETE": "deleting"}
COLLECTIONS = {
    "permissions": "the account's rights", "vmsizes": "the sizes of the region", "usages": "the quota",
    "locations": "the regions", "subscriptions": "the subscriptions", "resourcegroups": "the resource groups",
    "resources": "what the resource group holds", "listsecrets": "access to the workspace's storage",
    "startpendingupload": "a place for the training program", "details": "the run's history",
}  # fmt: skip
RESOURCES = {
    "subscriptions": "subscription", "resourcegroups": "resource group", "providers": "resource provider",
    "workspaces": "workspace", "computes": "compute", "datastores": "datastore", "jobs": "job", "codes": "code",
}  # fmt: skip
REPEATABLE = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "POST")  # no POST of ours does anything twice: it asks or sets

Progress = Callable[[str], None]


class Arm:
    """GET, PUT, POST, PATCH and DELETE with JSON; raises our errors."""

    def __init__(self, credential: Any) -> None:
        from azure.core.pipeline import policies
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

        self._credential = credential
        self._client: Any = ARMPipelineClient(
            HOST,
            policies=[
                policies.RequestIdPolicy(),
                policies.UserAgentPolicy("mb_jupyter"),
                policies.RetryPolicy(retry_total=4, retry_backoff_max=20),
                _whole_answers(),
                ARMChallengeAuthenticationPolicy(credential, SCOPE),
            ],
        )

    def get(self, path: str, version: str, **params: str) -> dict[str, Any]:
        """Return the answer to a GET; ``path`` begins with ``/`` or is an address of its own."""
        return self.send("GET", path, version, params=params).json() or {}

    def send(
        self,
        method: str,
        path: str,
        version: str = "",
        *,
        body: Any = None,
        params: dict[str, str] | None = None,
        doing: str = "",
    ) -> Any:
        """Return the response (azure-core's) of one request; an answer of 400 and above is raised."""
        from azure.core.rest import HttpRequest

        url = path if "://" in path else HOST + path
        asked = {**({"api-version": version} if version else {}), **(params or {})}
        request = HttpRequest(method, url, params=asked, json=body) if body is not None else HttpRequest(
            method, url, params=asked
        )  # fmt: skip
        limits = {
            "connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retry_on_methods": REPEATABLE,
        }  # fmt: skip
        with translated(doing or _named(method, urlsplit(url).path)):
            response = self._client.send_request(request, **limits)
            if response.status_code == 401 and hasattr(self._credential, "forget"):
                self._credential.forget()  # a token that was taken back before its time
                response = self._client.send_request(request, **limits)
            _raise_for(response)
        return response

    def pages(self, path: str, version: str, **params: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page after page."""
        answer = self.get(path, version, **params)
        while True:
            yield from answer.get("value") or []
            following = answer.get("nextLink")
            if not following:
                return
            answer = self.get(following, "")

    def exists(self, path: str, version: str) -> dict[str, Any] | None:
        """Return the resource, None when there is none."""
        from mb_jupyter.errors import AzureError

        try:
            return self.get(path, version)
        except AzureError as error:
            if error.status == 404:
                return None
            raise

    def wait(
        self,
        response: Any,
        doing: str,
        progress: Progress | None = None,
        seconds: float = 1800,
        pause: Callable[[float], None] = time.sleep,
    ) -> dict[str, Any]:
        """Wait for what a response has begun; raise what it ended with when it failed."""
        from mb_jupyter.errors import AzureError

        headers = response.headers
        status_url, location = headers.get("Azure-AsyncOperation"), headers.get("Location")
        if not status_url and not location:
            return {}
        begun = time.monotonic()
        while True:
            pause(_delay(response))
            response = self.send("GET", status_url or location, doing=doing)
            answer = (response.json() if response.text() else {}) or {}
            state = str(answer.get("status", "")).casefold()
            if (status_url and state in ENDED) or (not status_url and response.status_code != 202):
                break
            passed = time.monotonic() - begun
            if progress is not None:
                progress(f"{doing}: {answer.get('status') or 'going on'}, {passed:.0f} s")
            if passed > seconds:
                raise AzureError(
                    f"Azure has not ended {doing} within {seconds / 60:.0f} minutes; it may still go on.",
                    "Look again later: %mb_workspace show, %mb_compute show.",
                )
        if state in ("failed", "canceled", "cancelled"):
            raise _failed(response, doing)
        return answer


def _named(method: str, path: str) -> str:
    """Return what a request does, in the words of an error's cause: "reading the compute gpu"."""
    verb, parts = VERBS.get(method, "asking for"), [part for part in path.split("/") if part]
    last, before = (parts[-1] if parts else ""), (parts[-2] if len(parts) > 1 else "")
    if before.casefold() in RESOURCES:
        return f"{verb} the {RESOURCES[before.casefold()]} {last}"
    return f"{verb} {COLLECTIONS.get(last.casefold(), f'the {last}')}"


def _whole_answers() -> Any:
    """Return the policy by which an answer that was cut off, or is no JSON, is one that did not arrive.

    azure-core calls the first a refusal and does not look at the second. Behind its retry policy, this one lets it ask
    again as after a reset.
    """
    from azure.core import exceptions as azure
    from azure.core.pipeline.policies import HTTPPolicy

    class WholeAnswers(HTTPPolicy[Any, Any]):
        def send(self, request: Any) -> Any:
            try:
                answer = self.next.send(request)
            except azure.HttpResponseError as error:
                if not was_cut_off(error):
                    raise
                raise azure.ServiceResponseError(error, error=error) from error
            response = answer.http_response
            try:
                is_whole = response.status_code >= 300 or not response.text() or isinstance(response.json(), dict)
            except ValueError:
                is_whole = False
            if not is_whole:
                raise azure.ServiceResponseError("The answer is no JSON.", error=ValueError(response.reason))
            return answer

    return WholeAnswers()


def _delay(response: Any) -> float:
    milliseconds, seconds = response.headers.get("retry-after-ms"), response.headers.get("Retry-After")
    try:
        if milliseconds:
            return float(milliseconds) / 1000
        if seconds and float(seconds) > 0:
            return min(float(seconds), 30.0)
    except ValueError:  # a date
        pass
    return POLL_SECONDS


def _raise_for(response: Any) -> None:
    """Raise azure-core's own error for an answer of 400 and above, so that one place translates."""
    if response.status_code < 400:
        return
    from azure.core import exceptions as azure
    from azure.mgmt.core.exceptions import ARMErrorFormat

    kind = {401: azure.ClientAuthenticationError, 404: azure.ResourceNotFoundError, 409: azure.ResourceExistsError}
    raise kind.get(response.status_code, azure.HttpResponseError)(response=response, error_format=ARMErrorFormat)


def _failed(response: Any, doing: str) -> Exception:
    from azure.core.exceptions import HttpResponseError
    from azure.mgmt.core.exceptions import ARMErrorFormat

    from .translate import translate

    error = HttpResponseError(response=response, error_format=ARMErrorFormat)
    return translate(error, doing) or error
