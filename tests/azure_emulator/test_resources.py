"""The SDK creates, lists, breaks and deletes what a training needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, Workspace
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.identity import (
    AzureCliCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    DeviceCodeCredential,
    EnvironmentCredential,
    ManagedIdentityCredential,
)
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient

from .emulator import Azure

ARM_SCOPE = "https://management.azure.com/.default"


@pytest.fixture
def ml(azure: Azure) -> MLClient:
    return MLClient(EnvironmentCredential(), azure.subscription, "rg", "ws", enable_telemetry=False)


def test_signing_in(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert EnvironmentCredential().get_token(ARM_SCOPE).token.count(".") == 2
    told: list[tuple[Any, ...]] = []
    device = DeviceCodeCredential(tenant_id=azure.tenant, prompt_callback=lambda *args: told.append(args))
    assert device.get_token(ARM_SCOPE).token and told[0][1] == "STANDIN42"
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        ClientSecretCredential(azure.tenant, azure.client_id, "wrong").get_token(ARM_SCOPE)
    monkeypatch.setenv("PATH", azure.az_login(tmp_path))
    assert AzureCliCredential().get_token(ARM_SCOPE).token in azure.tokens
    monkeypatch.setenv("PATH", azure.az_login(tmp_path, signed_in=False))
    with pytest.raises(CredentialUnavailableError, match="az login"):
        AzureCliCredential().get_token(ARM_SCOPE)
    with pytest.raises(CredentialUnavailableError):
        ManagedIdentityCredential().get_token(ARM_SCOPE)
    azure.managed_identity = True
    assert ManagedIdentityCredential().get_token(ARM_SCOPE).token in azure.tokens


def test_subscriptions_groups_and_providers(azure: Azure) -> None:
    credential = EnvironmentCredential()
    azure.page_size = 1
    client = SubscriptionClient(credential)
    assert [one.display_name for one in client.subscriptions.list()] == ["Stand-in", "Stand-in, the other"]
    assert "westeurope" in [one.name for one in client.subscriptions.list_locations(azure.subscription)]
    assert [one.tenant_id for one in client.tenants.list()] == [azure.tenant]
    manager = ResourceManagementClient(credential, azure.subscription)
    assert not manager.resource_groups.check_existence("rg")
    manager.resource_groups.create_or_update("rg", {"location": "westeurope", "tags": {"made": "here"}})
    manager.resource_groups.create_or_update("rg2", {"location": "westeurope"})
    assert [one.name for one in manager.resource_groups.list()] == ["rg", "rg2"]
    with pytest.raises(ResourceExistsError):
        manager.resource_groups.create_or_update("rg", {"location": "eastus"})
    azure.providers["microsoft.machinelearningservices"] = "NotRegistered"
    name = "Microsoft.MachineLearningServices"
    assert manager.providers.get(name).registration_state == "NotRegistered"
    assert manager.providers.register(name).registration_state == "Registering"
    manager.providers.get(name)
    assert manager.providers.get(name).registration_state == "Registered"
    manager.resource_groups.begin_delete("rg").result()
    assert not manager.resource_groups.check_existence("rg")


def test_a_workspace_lives_and_dies(azure: Azure, ml: MLClient) -> None:
    azure.make_group("rg", "westeurope")
    ml.workspaces.begin_create(Workspace(name="ws", location="westeurope", tags={"made": "here"})).result()
    assert [one.name for one in ml.workspaces.list()] == ["ws"]
    made = ml.workspaces.get("ws")
    assert made.storage_account and made.tags["made"] == "here"
    ml.workspaces.begin_delete("ws", delete_dependent_resources=True).result()
    assert ("rg", "ws") in azure.soft_deleted and not azure.workspaces
    with pytest.raises(HttpResponseError, match=r"soft-deleted|Soft-deleted"):
        ml.workspaces.begin_create(Workspace(name="ws", location="westeurope")).result()


def test_computes(azure: Azure, ml: MLClient) -> None:
    azure.make_workspace("ws", "rg")
    size = "Standard_NC4as_T4_v3"
    wanted = AmlCompute(name="gpu", size=size, tier="low_priority", min_instances=0, max_instances=2)
    made = ml.compute.begin_create_or_update(wanted).result()
    assert made.provisioning_state == "Succeeded" and made.size == size.upper() and made.tier == "low_priority"
    assert [one.name for one in ml.compute.list()] == ["gpu"]
    azure.compute_error = {"code": "ClusterCoreQuotaReached", "message": "no cores left"}
    with pytest.raises(HttpResponseError, match="no cores left"):
        ml.compute.begin_create_or_update(AmlCompute(name="bad", size=size)).result()
    assert ml.compute.get("bad").provisioning_errors == "ClusterCoreQuotaReached"
    with pytest.raises(ResourceExistsError):
        ml.compute.begin_create_or_update(AmlCompute(name="bad", size=size)).result()
    azure.compute_error = None
    ml.compute.begin_delete("bad").result()
    azure.make_compute("another")
    azure.page_size = 1
    assert [one.name for one in ml.compute.list()] == ["gpu", "another"]
    with pytest.raises(HttpResponseError, match="quota of 0"):
        ml.compute.begin_create_or_update(AmlCompute(name="big", size="Standard_NC24ads_A100_v4", tier="dedicated"))
    assert size in [one.name for one in ml.compute.list_sizes()]
    assert len(list(ml.compute.list_usage())) > 4
