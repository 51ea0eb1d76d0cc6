"""Sign-in, workspaces and computes through Azure's own packages, against the stand-in for Azure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mb_jupyter import cloud
from mb_jupyter.azureml import Connection, Place
from mb_jupyter.azureml.signin import WAYS, claims_of
from mb_jupyter.errors import AzureError, SignInError

REGION = "westeurope"


@pytest.fixture(autouse=True)
def _signed_out() -> Iterator[None]:
    cloud.sign_out()
    yield
    cloud.sign_out()


@pytest.fixture
def account(azure):
    return cloud.sign_in("environment")


@pytest.fixture
def connection(azure, account) -> Connection:
    azure.make_workspace("ws", "rg")
    return Connection(account.credential, Place(azure.subscription, "rg", "ws", tenant=azure.tenant))


def test_the_account_is_told_but_no_token(azure, account, capsys):
    assert (account.name, account.tenant, account.how) == (azure.user, azure.tenant, "environment")
    token = account.credential.get_token("https://management.azure.com/.default").token
    assert token not in repr(account) and token not in repr(account.credential)
    assert azure.client_secret not in repr(account)
    assert claims_of(token)["tid"] == azure.tenant and claims_of("x") == claims_of("a.!.c") == {}
    asked = azure.asked("POST", "*/oauth2/v2.0/token")
    assert cloud.sign_in("environment") is account
    assert azure.asked("POST", "*/oauth2/v2.0/token") == asked, "the same account is not asked for twice"


def test_signing_in_by_az(azure, tmp_path, monkeypatch):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", azure.az_login(tmp_path / "in"))
    assert cloud.sign_in("cli").how == "cli"
    cloud.sign_out()
    monkeypatch.setenv("PATH", azure.az_login(tmp_path / "out", signed_in=False))
    with pytest.raises(SignInError, match="Nobody is signed in by cli") as caught:
        cloud.sign_in("cli")
    assert "az login" in caught.value.fix


def test_signing_in_by_device_code(azure):
    with pytest.raises(SignInError, match="somebody who types"):
        cloud.sign_in("device", azure.tenant)
    told: list[Any] = []
    account = cloud.sign_in("device", azure.tenant, lambda *what: told.append(what))
    assert account.name == azure.user
    address, code, until = told[0]
    assert address == "https://microsoft.com/devicelogin" and code == "STANDIN42" and until.tzinfo is not None
    assert cloud.sign_in("device", azure.tenant) is account, "one code per kernel"


def test_signing_in_as_the_machine(azure):
    azure.managed_identity = True
    assert cloud.sign_in("managed").tenant == azure.tenant
    cloud.sign_out()
    azure.managed_identity = False
    with pytest.raises(SignInError, match="Nobody is signed in by managed") as caught:
        cloud.sign_in("managed")
    assert "--sign-in device" in caught.value.fix


def test_a_sign_in_without_network_is_not_called_a_refusal(azure):
    with azure.no_network(), pytest.raises(AzureError, match="cannot be reached") as caught:
        cloud.sign_in("environment")
    assert not isinstance(caught.value, SignInError) and "network" in caught.value.fix


@pytest.mark.parametrize("refusal", ["expired_token", "authorization_declined"])
def test_a_device_code_that_nobody_accepts(azure, refusal):
    azure.device_refused = refusal
    with pytest.raises(SignInError, match="did not accept the sign-in by device") as caught:
        cloud.sign_in("device", azure.tenant, lambda *what: None)
    assert "new code" in caught.value.fix


def test_signing_in_that_fails_says_what_to_do(azure, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong~secret")
    with pytest.raises(SignInError, match="did not accept") as caught:
        cloud.sign_in("environment")
    assert "wrong~secret" not in caught.value.why() and "AADSTS7000215" in caught.value.why()
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    with pytest.raises(SignInError, match="Nobody is signed in by environment"):
        cloud.sign_in("environment")
    with pytest.raises(SignInError, match="no sign-in 'browser'") as caught:
        cloud.sign_in("browser")
    assert all(way in caught.value.fix for way in WAYS)


def test_a_token_that_is_taken_back_is_asked_for_anew(azure, connection):
    assert connection.facts.name == "ws"
    azure.expire_tokens()
    assert len(cloud.computes(connection)) == 0


def test_what_there_is_comes_page_by_page(azure, account):
    azure.page_size = 1
    azure.make_workspace("one", "rg")
    azure.make_workspace("two", "rg2")
    assert [each.name for each in cloud.subscriptions(account)] == ["Stand-in", "Stand-in, the other"]
    assert [each.name for each in cloud.resource_groups(account, azure.subscription)] == ["rg", "rg2"]
    assert [each.name for each in cloud.workspaces(account, azure.subscription)] == ["one", "two"]
    assert [each.name for each in cloud.workspaces(account, azure.subscription, "rg2")] == ["two"]
    names = [each.name for each in cloud.regions(account, azure.subscription)]
    assert REGION in names and "japaneast" not in names, "a region without the service is none"
    assert "close to you" in cloud.regions(account, azure.subscription)._repr_mimebundle_()["text/plain"]


def test_a_workspace_is_made_with_all_it_needs(azure, account, capfd):
    azure.providers["microsoft.machinelearningservices"] = "NotRegistered"
    said: list[str] = []
    made = cloud.AzureWorkspace("flowers", "new-group", azure.subscription, "West Europe", account).create(said.append)
    assert made.region == REGION
    facts = made.connection.facts
    assert (facts.region, facts.state) == (REGION, "Succeeded")
    assert facts.mlflow_api.startswith(f"https://{REGION}.api.azureml.ms/mlflow/v2.0/subscriptions/")
    assert facts.data_plane == f"https://{REGION}.api.azureml.ms"
    assert azure.groups["new-group"]["tags"] == {"createdBy": "mb_jupyter"}
    found = cloud.workspaces(account, azure.subscription)[0]
    assert found.ours and found.parts
    assert any("registering Microsoft.MachineLearningServices" in line for line in said)
    assert any("Storage" in line for line in said), "what is being made is told by name"
    printed = capfd.readouterr()
    assert printed.out == printed.err == "", "the SDK's own reports stay out of the notebook"
    with pytest.raises(AzureError, match="already"):
        cloud.AzureWorkspace("flowers", "new-group", azure.subscription, REGION, account).create()


def test_a_wrong_region_costs_nothing(azure, account):
    wanted = cloud.AzureWorkspace("flowers", "rg", azure.subscription, "westeurop", account)
    with pytest.raises(AzureError, match=r"no region westeurop for workspaces; did you mean westeurope\?"):
        wanted.create()
    assert not azure.asked("PUT", "*")


def test_a_name_that_is_still_taken(azure, account):
    azure.make_group("rg", REGION)
    azure.soft_deleted.add(("rg", "flowers"))
    with pytest.raises(AzureError, match="Soft-deleted workspace exists") as caught:
        cloud.AzureWorkspace("flowers", "rg", azure.subscription, REGION, account).create()
    assert "flowers-b" in caught.value.alternative and "for good" in caught.value.alternative


@pytest.mark.parametrize(
    ("code", "said", "fix"),
    [
        ("RequestDisallowedByPolicy", "policy of your organisation", "administrators"),
        ("AuthorizationFailed", "may not go on", "Contributor"),
        ("QuotaExceeded", "quota", "Quota"),
    ],
)
def test_a_deployment_that_fails_names_what_is_half_made(azure, account, capfd, code, said, fix):  # noqa: PLR0917
    azure.deployment_error = {"code": code, "message": "Azure's own words, in full."}
    with pytest.raises(AzureError, match=said) as caught:
        cloud.AzureWorkspace("flowers", "fresh", azure.subscription, REGION, account).create(lambda text: None)
    assert caught.value.code == code
    assert "resource group fresh" in caught.value.cause and fix in caught.value.fix
    assert "Azure's own words, in full." in caught.value.why()
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_a_workspace_is_deleted(azure, account):
    azure.make_workspace("flowers", "rg")
    wanted = cloud.AzureWorkspace("flowers", "rg", azure.subscription, REGION, account)
    wanted.delete(purge=True)
    assert not azure.workspaces and not azure.soft_deleted
    left = {"failure anomalies", "application insights smart detection"}
    assert {name.rpartition("/")[2].partition(" - ")[0] for name in azure.resources} == left, "Azure's own"
    with pytest.raises(AzureError, match="no workspace flowers"):
        wanted.delete()


def test_a_compute_is_made_small_and_cheap(azure, connection):
    said: list[str] = []
    made = cloud.Compute("gpu", connection=connection).create(said.append)
    assert (made.priority, made.min_nodes, made.max_nodes, made.state) == ("low-priority", 0, 1, "Succeeded")
    assert made.ready and made.ours and cloud.require_ready(connection, "GPU") == made
    asked = azure.asked("PUT", "*/computes/gpu")[0].request["properties"]["properties"]
    assert asked["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] == "PT300S" and asked["vmPriority"] == "LowPriority"
    assert any("making the compute gpu" in line for line in said)
    assert "gpu" in cloud.computes(connection)._repr_mimebundle_()["text/html"]
    with pytest.raises(AzureError, match="There is a compute gpu already") as caught:
        cloud.Compute("gpu", connection=connection).create()
    assert "gpu-b" in caught.value.alternative


def test_what_the_region_offers_with_price_and_quota(azure, connection):
    azure.low_priority_cores = 8
    found = {size.name: size for size in cloud.sizes(connection)}
    assert "Standard_D4s_v3" not in found and "Standard_D4s_v3" in {s.name for s in cloud.sizes(connection, every=True)}
    t4, a100 = found["Standard_NC4as_T4_v3"], found["Standard_NC24ads_A100_v4"]
    assert (t4.price, t4.currency, t4.gpu_memory_gib, t4.nics, t4.offered) == (0.526, "USD", 16, 2, True)
    assert (t4.quota_left, t4.low_priority_quota_left, t4.nodes_within_quota(True)) == (64, 8, 2)
    assert (a100.quota, a100.nodes_within_quota(False)) == (0, 0)
    text = cloud.sizes(connection)._repr_mimebundle_()["text/plain"]
    assert (
        "Price an hour, USD" in text
        and "64\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}8" in text
        and "Standard_NC12 " not in text
    )


def test_a_retired_or_absent_size_names_the_nearest_offered(azure, connection):
    with pytest.raises(AzureError, match=r"retired by Azure, 2023\. The nearest offered is Standard_\w+"):
        cloud.Compute("gpu", "Standard_NC12", connection=connection).create()
    azure.sizes_withheld.add("Standard_NC4as_T4_v3")
    with pytest.raises(AzureError, match=r"does not offer the size .* nearest offered is Standard_NC8as_T4_v3"):
        cloud.Compute("gpu", connection=connection).create()
    assert not azure.asked("PUT", "*/computes/*")


def test_no_quota_is_told_before_anything_is_made(azure, connection):
    with pytest.raises(AzureError, match="dedicated quota is 0 vCPUs, a node of Standard_NC24ads_A100_v4 needs 24"):
        cloud.Compute("gpu", "Standard_NC24ads_A100_v4", "dedicated", connection=connection).create()
    assert not azure.asked("PUT", "*/computes/*")


def test_a_creation_that_azure_refuses_at_once(azure, connection):
    azure.fault("PUT", "*/computes/*", status=400)
    with pytest.raises(AzureError, match="quota of 0 and cannot accomodate") as caught:
        cloud.Compute("gpu", connection=connection).create()
    assert caught.value.status == 400 and len(caught.value.lines()) <= 6
    assert not cloud.computes(connection), "nothing half made"


def test_a_creation_that_fails_later_leaves_an_errored_compute(azure, connection):
    azure.compute_error = {"code": "ClusterCoreQuotaReached", "message": "The words of Azure about cores."}
    with pytest.raises(AzureError, match="The words of Azure about cores") as caught:
        cloud.Compute("gpu", connection=connection).create()
    error = caught.value
    assert error.code == "ClusterCoreQuotaReached" and "quota of vCPUs is used up" in error.cause
    assert "%mb_compute recreate gpu" in error.fix and "%mb_compute create gpu-b" in error.alternative
    facts = cloud.computes(connection)[0]
    assert facts.errored and not facts.ready
    assert "recreate gpu" in cloud.computes(connection)._repr_mimebundle_()["text/plain"]
    for attempt in (
        lambda: cloud.Compute("gpu", connection=connection).create(),
        lambda: cloud.require_ready(connection, "gpu"),
    ):
        with pytest.raises(AzureError, match="exists in an errored state") as caught:
            attempt()
        assert "gpu-b" in caught.value.alternative
    assert len(azure.asked("PUT", "*/computes/gpu")) == 1, "the errored name is not tried again"
    azure.compute_error = None
    said: list[str] = []
    made = cloud.Compute.existing("gpu", connection).recreate(said.append)
    assert made.ready and made.size == "STANDARD_NC4AS_T4_V3"


def test_a_recreated_compute_is_as_it_was(azure, connection):
    body = azure.make_compute("gpu", nodes=(0, 3), error={"code": "AllocationFailed", "message": "None free."})
    network = {
        "subnet": {"id": f"{connection.place.group_path}/providers/Microsoft.Network/x"},
        "isolatedNetwork": True,
    }
    user = f"{connection.place.group_path}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"
    ids = {"principalId": azure.user_id, "clientId": azure.client_id}
    body |= {"tags": {"team": "birds"}, "identity": {"type": "UserAssigned", "userAssignedIdentities": {user: ids}}}
    body["properties"]["properties"] |= {**network, "enableNodePublicIp": False}
    body["properties"]["properties"]["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] = "PT1H2M30S"
    made = cloud.Compute.existing("gpu", connection).recreate()
    assert made.ready and made.max_nodes == 3 and made.tags == {"team": "birds"} and not made.ours
    asked = azure.asked("PUT", "*/computes/gpu")[0].request
    assert asked["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {user: {}}}
    inner = asked["properties"]["properties"]
    assert inner.items() >= network.items() and inner["enableNodePublicIp"] is False
    assert inner["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] == "PT3750S"


def test_a_recreated_compute_with_another_size_is_told(azure, connection):
    azure.make_compute("gpu", "Standard_NC4as_T4_v3", low_priority=True, nodes=(0, 1))
    azure.kept_sizes["gpu"] = "Standard_NC8as_T4_v3"
    with pytest.raises(AzureError, match="size Standard_NC8as_T4_v3 instead of Standard_NC4as_T4_v3") as caught:
        cloud.Compute.existing("gpu", connection).recreate()
    assert "gpu-b" in caught.value.fix


def test_a_compute_that_is_not_there(azure, connection):
    for attempt in (
        lambda: cloud.Compute.existing("gpu", connection),
        lambda: cloud.Compute("gpu", connection=connection).delete(),
        lambda: cloud.require_ready(connection, "gpu"),
    ):
        with pytest.raises(AzureError, match="no compute gpu") as caught:
            attempt()
        assert caught.value.code == "ComputeNotFound"


def test_the_client_is_silent(connection, capfd):
    assert [each.name for each in connection.client.compute.list()] == []
    assert logging.getLogger("azure.ai.ml").level == logging.ERROR
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
