"""Each kind of fault does what its line in ``faults.py`` says, to the SDK's own clients."""

from __future__ import annotations

import threading
import time

import pytest
import requests
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, Workspace
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.core.exceptions import ServiceResponseError as Lost
from azure.identity import EnvironmentCredential
from azure.storage.blob import ContainerClient

from .emulator import Azure

SCOPE = "https://management.azure.com/.default"


@pytest.fixture
def ml(azure: Azure) -> MLClient:
    azure.make_workspace("ws", "rg")
    return MLClient(EnvironmentCredential(), azure.subscription, "rg", "ws", enable_telemetry=False, retry_total=0)


def get(azure: Azure, path: str = "/subscriptions", timeout: tuple[float, float] = (20, 20)) -> requests.Response:
    """Ask without anyone who retries."""
    token = EnvironmentCredential().get_token(SCOPE).token
    head = {"Authorization": f"Bearer {token}"}
    where = f"https://management.azure.com{path}?api-version=2022-12-01"
    return requests.get(where, headers=head, timeout=timeout)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
def test_statuses(azure: Azure, status: int) -> None:
    azure.fault("GET", "*/subscriptions", status=status, headers={"Retry-After": "1"}, times=2, skip=1)
    assert get(azure).status_code == 200
    answer = get(azure)
    assert answer.status_code == status and answer.json()["error"]["code"] and answer.headers["Retry-After"] == "1"
    assert get(azure).status_code == status
    assert get(azure).status_code == 200


def test_connections_that_break(azure: Azure) -> None:
    azure.fault("GET", "*/subscriptions", kind="reset")
    with pytest.raises(requests.ConnectionError):
        get(azure)
    fault = azure.fault("GET", "*/subscriptions", kind="stall")
    with pytest.raises(requests.ReadTimeout):
        get(azure, timeout=(20, 0.3))
    fault.release()
    azure.fault("GET", "*/subscriptions", kind="truncate")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        get(azure)
    assert get(azure).status_code == 200


def test_an_answer_that_is_lost(azure: Azure, ml: MLClient) -> None:
    azure.fault("PUT", "*/computes/gpu", kind="lost")
    with pytest.raises((Lost, ServiceRequestError)):
        ml.compute.begin_create_or_update(AmlCompute(name="gpu", size="Standard_NC4as_T4_v3"))
    assert [one.name for one in ml.compute.list()] == ["gpu"]


def test_throttling_is_waited_for(azure: Azure) -> None:
    azure.make_workspace("ws", "rg")
    ml = MLClient(EnvironmentCredential(), azure.subscription, "rg", "ws", enable_telemetry=False)
    azure.fault("GET", "*/workspaces/ws", status=429, headers={"Retry-After": "1"})
    assert ml.workspaces.get("ws").name == "ws"
    assert [one.status for one in azure.asked("GET", "*/workspaces/ws")] == [429, 200]


def test_blobs_break_too(azure: Azure, ml: MLClient) -> None:
    store = ml.datastores.get_default(include_secrets=True)
    url = f"https://{store.account_name}.blob.core.windows.net"
    payload = bytes(range(256)) * 4000
    with ContainerClient(url, store.container_name, credential=store.credentials.sas_token, retry_total=0) as container:
        azure.fault("PUT", "*.blob.core.windows.net/*/a.bin", kind="cut")
        with pytest.raises((Lost, ServiceRequestError)):
            container.upload_blob("a.bin", payload)
        assert not list(container.list_blobs())
        azure.fault("PUT", "*.blob.core.windows.net/*/a.bin", status=503, code="ServerBusy")
        with pytest.raises(HttpResponseError, match="ServerBusy"):
            container.upload_blob("a.bin", payload)
        container.upload_blob("a.bin", payload)
        azure.fault("GET", "*.blob.core.windows.net/*/a.bin", kind="truncate")
        before = len(azure.asked("GET", "*/a.bin"))
        assert container.download_blob("a.bin").readall() == payload  # the SDK asks again
        assert len(azure.asked("GET", "*/a.bin")) == before + 2
        assert container.download_blob("a.bin", offset=1000, length=7).readall() == payload[1000:1007]


def test_a_signature_that_has_ended(azure: Azure, ml: MLClient) -> None:
    azure.sas_lifetime = -5
    store = ml.datastores.get_default(include_secrets=True)
    url = f"https://{store.account_name}.blob.core.windows.net"
    with ContainerClient(url, store.container_name, credential=store.credentials.sas_token) as container:
        with pytest.raises(HttpResponseError) as caught:
            container.upload_blob("a.bin", b"x")
        assert caught.value.status_code == 403


def test_tokens_end(azure: Azure) -> None:
    credential = EnvironmentCredential()
    ml = MLClient(credential, azure.subscription, "rg", "ws", enable_telemetry=False)
    azure.make_workspace("ws", "rg")
    assert ml.workspaces.get("ws").name == "ws"
    azure.expire_tokens()
    with pytest.raises(ClientAuthenticationError):
        ml.workspaces.get("ws")
    assert get(azure).status_code == 200


def test_the_network_goes_and_comes_back(azure: Azure) -> None:
    assert get(azure).status_code == 200
    with azure.no_network(), pytest.raises((requests.ConnectionError, ClientAuthenticationError)):
        get(azure)
    assert get(azure).status_code == 200


def test_no_network_breaks_what_is_under_way(azure: Azure) -> None:
    token = EnvironmentCredential().get_token(SCOPE).token
    fault = azure.fault("GET", "*/subscriptions", kind="stall")
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            where = "https://management.azure.com/subscriptions?api-version=2022-12-01"
            requests.get(where, headers={"Authorization": f"Bearer {token}"}, timeout=20)
        except requests.RequestException as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not fault.hits:
        time.sleep(0.01)
    with azure.no_network():
        thread.join()
        assert failed and isinstance(failed[0], requests.ConnectionError)


def test_other_hosts_are_refused_and_remembered(azure: Azure) -> None:
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://westus2-0.in.applicationinsights.azure.com/v2/track", timeout=10)
    assert requests.get("http://example.org/", timeout=10).status_code == 403
    assert azure.denied == ["westus2-0.in.applicationinsights.azure.com", "example.org"]
    azure.denied.clear()


def test_a_deployment_that_fails_and_a_reader(azure: Azure, ml: MLClient) -> None:
    azure.deployment_error = {"code": "RequestDisallowedByPolicy", "message": "Shared keys are not allowed."}
    with pytest.raises(HttpResponseError, match="Shared keys"):
        ml.workspaces.begin_create(Workspace(name="other", location="westeurope")).result()
    azure.role = "Reader"
    with pytest.raises(HttpResponseError) as caught:
        ml.compute.begin_create_or_update(AmlCompute(name="gpu", size="Standard_NC4as_T4_v3"))
    assert caught.value.status_code == 403
