"""Every error of Azure's packages becomes one of ours here, by its type and its code, never by its words.

The message of the service itself is kept whole in ``details`` (``%mb_why``), without what is secret in it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mb_jupyter.errors import AzureError, MBError, SignInError

SECRETS = (
    (re.compile(r"(?i)\b(sig|signature|accountkey|\w+_secret|\w+_token)=[^&\s\"',;]+"), r"\1=(left out)"),
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), "Bearer (left out)"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "(token left out)"),
    (re.compile(r"(?<![\w/+])[A-Za-z0-9+/]{86}=="), "(key left out)"),
)  # fmt: skip

PASSING = (408, 429, 500, 502, 503, 504)  # statuses after which the same request may succeed soon

SIGN_IN_FIX = "Sign in again: %mb_workspace use --sign-in cli (after `az login`), or --sign-in device."
NETWORK_FIX = "Check the network and the proxy (HTTPS_PROXY), then run the cell again."
RIGHTS = (
    "Ask an owner of the subscription for the role Contributor on the resource group (to create), "
    "or AzureML Data Scientist on the workspace (to train)."
)
QUOTA_FIX = (
    "Take another size (%mb_compute sizes shows the quota left), or ask for more: https://ml.azure.com, Manage, Quota."
)
POLICY_FIX = (
    "Use a workspace that your organisation has made (%mb_workspace list), or ask its administrators for an exemption."
)

# code -> cause, fix, alternative; {doing} is what was being done
CODES: dict[str, tuple[str, str, str]] = {
    "AuthorizationFailed": ("This account may not go on {doing}.", RIGHTS, "Another account: --sign-in, --tenant."),
    "LinkedAuthorizationFailed": ("This account may not use a part that is needed for {doing}.", RIGHTS, ""),
    "AuthorizationPermissionMismatch": (
        "This account may not read or write the workspace's storage ({doing}).",
        "Ask for the role Storage Blob Data Contributor on the storage account of the workspace.",
        "",
    ),
    "InvalidAuthenticationTokenTenant": (
        "The account is signed in to another tenant than the subscription's.",
        "Name the tenant: %mb_workspace use --tenant ID.",
        "",
    ),
    "MissingSubscriptionRegistration": (
        "The subscription does not have a resource provider registered that is needed for {doing}.",
        "%mb_workspace create registers what it needs; in the portal it is Subscription, Resource providers.",
        "When this account may not, somebody with the role Contributor on the subscription has to do it.",
    ),
    "RequestDisallowedByPolicy": (
        "A policy of your organisation forbids what is needed for {doing}; often it forbids storage with shared keys.",
        POLICY_FIX,
        "",
    ),
    "KeyBasedAuthenticationNotPermitted": (
        "A policy forbids shared keys on the workspace's storage.",
        "Use a workspace whose datastores take the identity of the user, and the role Storage Blob Data Contributor.",
        "",
    ),
    "SubscriptionNotFound": ("There is no such subscription for this account.", "Choose one: %mb_workspace list.", ""),
    "InvalidSubscriptionId": ("That is not the id of a subscription.", "Choose one: %mb_workspace list.", ""),
    "ResourceGroupNotFound": (
        "There is no such resource group in the subscription.",
        "Choose another, or make it: %mb_workspace create NAME --resource-group GROUP --region REGION.",
        "",
    ),
    "InvalidResourceGroupLocation": (
        "The resource group is there already, in another region.",
        "Leave out the region of the group, or choose another name for the group.",
        "",
    ),
    "LocationNotAvailableForResourceType": (
        "Azure does not offer this in that region ({doing}).",
        "Choose another region.",
        "",
    ),
    "ClusterCoreQuotaReached": ("The quota of processor cores is used up ({doing}).", QUOTA_FIX, ""),
    "ClusterMinNodesExceedCoreQuota": ("The least number of nodes needs more cores than the quota has.", QUOTA_FIX, ""),
    "QuotaExceeded": ("A quota of the subscription is used up ({doing}).", QUOTA_FIX, ""),
    "ComputeNotFound": ("There is no such compute in the workspace.", "List them with %mb_compute, or create one.", ""),
    "ResourceNotFound": (
        "What is needed for {doing} is not there.",
        "Check the names: %mb_workspace, %mb_compute.",
        "",
    ),
}  # fmt: skip


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what Azure's packages raise within into our errors; ``doing`` reads "listing the computes".

    Works as a decorator too.
    """
    try:
        yield
    except MBError:
        raise
    except Exception as error:
        ours = translate(error, doing)
        if ours is None:
            raise
        _scrub(error)
        raise ours from error


def translate(error: BaseException, doing: str) -> AzureError | None:
    """Return our error for one of Azure's; None when it is not one of theirs."""
    if "azure.core.exceptions" not in sys.modules:
        return None
    from azure.core import exceptions as azure

    if not isinstance(error, azure.AzureError):
        return None
    codes = _codes(error)
    facts: dict[str, Any] = {
        "details": told(error),
        "code": codes[0] if codes else "",
        "status": getattr(error, "status_code", None),
    }
    for code in codes:
        if code in CODES:
            cause, fix, alternative = CODES[code]
            return AzureError(cause.format(doing=doing), fix, alternative, **{**facts, "code": code})
    if of_the_network(error):
        cut = isinstance(getattr(error, "inner_exception", None), azure.DecodeError | ValueError) or was_cut_off(error)
        what = "Azure's answer did not arrive whole" if cut else "Azure cannot be reached"
        return AzureError(f"{what} ({doing}).", NETWORK_FIX, **{**facts, "status": None})
    if isinstance(error, azure.ClientAuthenticationError):
        return SignInError(f"Azure did not accept the sign-in ({doing}).", SIGN_IN_FIX, **facts)
    return _by_status(error, doing, facts)


def of_the_network(error: BaseException | None) -> bool:
    """Tell whether it was the way to Azure that failed; azure-identity calls that a refused sign-in."""
    from azure.core import exceptions as azure

    # not its child, which says that this way to sign in is not there
    while type(error) is azure.ClientAuthenticationError and error.status_code is None:
        error = error.__cause__ or error.__context__
    return isinstance(error, azure.ServiceRequestError | azure.ServiceResponseError) or was_cut_off(error)


def was_cut_off(error: BaseException | None) -> bool:
    """Tell whether an answer began and cannot be read: its connection ended, or it is not what it says it is."""
    from azure.core import exceptions as azure

    without_answer = type(error) is azure.HttpResponseError and error.response is None
    return without_answer or isinstance(error, azure.DecodeError)


def is_passing(error: AzureError) -> bool:
    """Tell whether the same request may succeed soon: the network, a pause that was asked for, trouble over there.

    Of such a request nobody knows whether Azure has done what it asks for.
    """
    if error.status in PASSING:
        return True
    cause = error.__cause__
    # an answer that began well and was cut off has the status of its beginning
    cut = error.status is not None and error.status < 300 and cause is not None
    return cut or of_the_network(cause)


STATUSES: dict[int, tuple[str, str, str]] = {
    403: CODES["AuthorizationFailed"],
    404: CODES["ResourceNotFound"],
    429: ("Azure asks to slow down ({doing}).", "Wait a minute and run the cell again.", ""),
    500: (
        "Azure has trouble of its own ({doing}).",
        "Run the cell again in a few minutes.",
        "https://status.azure.com tells of outages.",
    ),
}


def _by_status(error: BaseException, doing: str, facts: dict[str, Any]) -> AzureError:
    status = facts["status"] or 0
    cause, fix, alternative = STATUSES.get(
        500 if status >= 500 else status, ("Azure refused {doing}: {said}", "%mb_why shows all it said.", "")
    )
    return AzureError(cause.format(doing=doing, said=_first_line(error)), fix, alternative, **facts)


def told(error: BaseException) -> str:
    """Return everything the service said, with the ids its support asks for, without secrets."""
    lines = [f"Azure said ({type(error).__name__}):", str(getattr(error, "message", "") or error)]
    for code, message in _walk(getattr(error, "error", None)):
        line = f"{code}: {message}"
        if line not in lines:
            lines.append(line)
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    for name in ("x-ms-request-id", "x-ms-correlation-request-id"):
        if headers.get(name):
            lines.append(f"{name}: {headers[name]}")
    return redacted("\n".join(lines))


def redacted(text: str) -> str:
    """Return a text without keys, tokens and signatures."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


def _scrub(error: BaseException) -> None:
    """Take what is secret out of an error and out of those it came from: a script's traceback prints them all."""
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    for each in chain:
        for text in {str(each), str(getattr(each, "message", ""))}:
            if redacted(text) != text:
                each.args = (redacted(str(each)),)
                if hasattr(each, "message"):
                    each.message = redacted(str(each.message))


def _first_line(error: BaseException) -> str:
    inner = [message for _, message in _walk(getattr(error, "error", None)) if message]
    text = inner[-1] if inner else str(getattr(error, "message", "") or error)
    lines = [line.strip() for line in redacted(text).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _codes(error: BaseException) -> list[str]:
    """Return the error's codes, the innermost first: the outer ones say only that something inside failed."""
    found = [code for code, _ in _walk(getattr(error, "error", None)) if code]
    code = getattr(error, "error_code", None)  # azure-storage
    found += [str(getattr(code, "value", code))] if code else []
    return found[::-1]


def _walk(error: Any) -> Iterator[tuple[str, str]]:
    """Yield code and message of an ARM error and of those inside it, the outermost first."""
    if error is None:
        return
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        inside = error.get("details") or []
    else:
        code, message = getattr(error, "code", None), getattr(error, "message", None)
        inside = getattr(error, "details", None) or []
    if code or message:
        yield str(code or ""), str(message or "")
    for each in inside if isinstance(inside, list) else []:
        yield from _walk(each)
    if isinstance(message, str) and message.lstrip().startswith("{"):  # a deployment puts an answer into the text
        try:
            answer = json.loads(message)
        except ValueError:
            return
        yield from _walk(answer.get("error") if isinstance(answer, dict) else None)
