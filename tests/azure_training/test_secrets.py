"""No key, token or signature is seen, whatever happens."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
import requests
from azure.core.exceptions import ServiceRequestError

from mb_jupyter.azureml.translate import translated
from mb_jupyter.errors import AzureError, MBError
from tests.azure_shell import fails, run

from .cells import cell


@pytest.mark.parametrize("datastore", ["Sas", "None"])
def test_no_secret_is_logged_even_when_everything_is(azure, shell, caplog, datastore):
    azure.datastore_credentials = datastore
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu")
    caplog.set_level(logging.DEBUG)
    azure.fault("PUT", "*/data/packs/*", 2, kind="reset")
    run(shell, cell(epochs=1))
    assert len(caplog.records) > 10, "something was logged; the fixture looks for secrets in it"


def test_a_script_that_fails_prints_no_signature():
    said = "HTTPSConnectionPool(host='x'): Max retries exceeded with url: /a/b?se=1&sig=abc%2Fdef%3D"
    with pytest.raises(AzureError, match="cannot be reached") as caught, translated("asking"):
        try:
            raise requests.ConnectionError(said)
        except requests.ConnectionError as error:
            raise ServiceRequestError(error, error=error) from error
    whole = "".join(traceback.format_exception(caught.value))
    assert whole.count("sig=(left out)") == 2 and "abc" not in whole


def test_an_error_shows_no_signature(azure, shell):
    told = "Not valid: https://x.blob.core.windows.net/a?sig=abc%2Fdef%3D&se=1 Bearer eyJa.b.c"
    azure.fault("PUT", "*/data/packs/*", 99, status=403, code="AuthenticationFailed", message=told)
    error = fails(shell, cell(), "may not|did not accept", MBError)
    whole = "\n".join(
        (error.why(), repr(error), run(shell, "%mb_why"), *(p.read_text() for p in Path("kept").rglob("*.json")))
    )
    assert "abc%2Fdef" not in whole and "eyJa" not in whole
