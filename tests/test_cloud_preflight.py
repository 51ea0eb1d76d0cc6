"""The pre-flight, the experiments of both sides and the clean-up, against the stand-in for Azure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mb_jupyter import cloud
from mb_jupyter.azureml import Connection
from mb_jupyter.errors import AzureError
from mb_jupyter.workspace import Workspace


@pytest.fixture(autouse=True)
def _signed_out(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "kept"))
    cloud.sign_out()
    yield
    cloud.sign_out()


@pytest.fixture
def place(azure) -> cloud.Chosen:
    azure.make_workspace("ws", "rg")
    azure.make_compute("gpu", "Standard_NC4as_T4_v3", low_priority=True, nodes=(0, 2))
    return cloud.choose(
        sign_in="environment", tenant=azure.tenant, subscription=azure.subscription, resource_group="rg",
        workspace="ws", compute="gpu",
    )  # fmt: skip


def line(flight: cloud.Preflight, name: str) -> cloud.Check:
    return next(check for check in flight.checks if check.name == name)


def test_all_is_well(azure, place):
    wanted = cloud.Wanted(nodes=2, max_minutes=30, max_cost=5, pictures=640, data_bytes=120_000_000)
    flight = cloud.preflight(place, wanted)
    assert flight.ok, flight.checks
    assert [check.name for check in flight.checks] == [
        "sign-in", "role", "provider", "workspace", "region", "compute", "size", "quota", "data", "upload", "price",
        "caps",
    ]  # fmt: skip
    assert (flight.region, flight.currency, flight.gpus) == ("westeurope", "USD", 1)
    assert flight.price_per_hour == pytest.approx(2 * 0.526 / 5, abs=1e-3)
    assert flight.estimate == pytest.approx(0.526 / 5, abs=1e-3)
    assert "10 s at 100 Mbit/s, 2 min at 10 Mbit/s" in line(flight, "upload").said
    assert "30 minutes" in line(flight, "caps").said
    shown = flight._repr_mimebundle_()
    assert "Ready: 12 checks" in shown["text/plain"] and "nothing was changed" in shown["text/html"]
    assert all(exchange.method in ("GET", "POST") for exchange in azure.exchanges)
    assert not [e for e in azure.exchanges if e.method == "POST" and "login" not in e.where]
    assert flight.require() is flight


def test_nodes_that_could_not_be_had_once_stop_nothing(azure, place):
    told = {"code": "ClusterCoreQuotaReached", "message": "The cores were gone at noon."}
    azure.make_compute("gpu")["properties"]["properties"]["errors"] = [{"error": told}]
    flight = cloud.preflight(place)
    assert flight.ok and line(flight, "compute").ok
    assert line(flight, "nodes").ok is None and "The cores were gone at noon" in line(flight, "nodes").said
    connection = place.connect()
    assert cloud.require_ready(connection, "gpu").ready
    for shown in (cloud.computes(connection), cloud.ComputeView.of("gpu", connection)):
        text = shown._repr_mimebundle_()["text/plain"]
        assert "The cores were gone at noon" in text and "ready" in text and "recreate" not in text


def test_storage_without_keys_needs_a_role(azure, place):
    azure.datastore_credentials = "None"
    azure.make_workspace("keyless", "rg")
    flight = cloud.preflight(cloud.choose(workspace="keyless"))
    assert line(flight, "identity").said.endswith("needs Storage Blob Data Contributor")
    assert line(flight, "identity").ok is None


def _errored(azure):
    azure.make_compute("gpu", error={"code": "ClusterCoreQuotaReached", "message": "The cores are gone."})


def _reader(azure):
    azure.role = "Reader"


def _unregistered(azure):
    azure.providers["microsoft.machinelearningservices"] = "NotRegistered"


def _withheld(azure):
    azure.sizes_withheld.add("Standard_NC4as_T4_v3")


def _no_quota(azure):
    azure.low_priority_cores = 0


@pytest.mark.parametrize(
    ("spoil", "name", "said", "fix"),
    [
        (_errored, "compute", "The cores are gone", "recreate gpu"),
        (_reader, "role", "may not submit", "AzureML Data Scientist"),
        (_unregistered, "provider", "NotRegistered", "registers it"),
        (_withheld, "size", "no longer offers", "Standard_NC8as_T4_v3"),
        (_no_quota, "quota", "0 of 0 low-priority vCPUs left, 4 needed", "Quota"),
    ],
    ids=["compute", "role", "provider", "size", "quota"],
)
def test_each_obstacle_is_a_line_with_its_fix(azure, place, spoil, name, said, fix):  # noqa: PLR0917
    spoil(azure)
    flight = cloud.preflight(place)
    assert not flight.ok
    check = line(flight, name)
    assert check.ok is False and said in check.said and fix in check.fix
    with pytest.raises(AzureError, match=f"{name}: ") as caught:
        flight.require()
    assert len(caught.value.lines()) <= 6


def test_what_is_asked_for_does_not_fit(azure, place):
    flight = cloud.preflight(place, cloud.Wanted(nodes=3, max_minutes=600, max_cost=0.5, remote=True))
    assert "at most 2" in line(flight, "nodes").said
    assert line(flight, "caps").ok is False and "max_minutes to " in line(flight, "caps").fix
    assert "in Azure already" in line(flight, "data").said
    gone = cloud.preflight(cloud.choose(compute="other"))
    assert "no compute other" in line(gone, "compute").said and "create other" in line(gone, "compute").fix
    assert "use gpu." in line(cloud.preflight(cloud.choose(compute="")), "compute").fix


def test_without_a_workspace_or_a_sign_in(azure, place, monkeypatch):
    assert line(cloud.preflight(cloud.Chosen()), "sign-in").ok is False
    gone = cloud.preflight(cloud.choose(workspace="gone"))
    assert line(gone, "workspace").ok is False
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    cloud.sign_out()
    flight = cloud.preflight(place)
    assert [c.name for c in flight.checks if c.ok is False] == ["sign-in"]
    assert "AZURE_CLIENT_SECRET" in line(flight, "sign-in").fix


def test_an_answer_that_does_not_come_holds_nothing_up(azure, place):
    held = azure.fault("GET", "*/permissions", 99, kind="stall", seconds=600)  # longer than a test may take
    flight = cloud.preflight(place, seconds=8)
    assert line(flight, "role").ok is None and "not answered" in line(flight, "role").said
    assert flight.ok, "what is unknown stops nothing"
    held.release()


def test_experiments_of_both_sides(azure, place):
    connection = place.connect()
    Workspace.local().experiment("only-here")
    cloud.register_experiment("flowers", connection)
    cloud.register_experiment("flowers", connection)  # joins
    assert len(azure.asked("POST", "*/experiments/create")) == 1
    found = {each.name: each.where for each in cloud.experiments(connection)}
    assert found == {"only-here": "this machine", "flowers": "this machine and Azure"}
    assert [each.name for each in cloud.experiments()] == ["flowers", "only-here"]
    for _ in range(2):
        cloud.register_experiment("꽃", connection)
    assert len(azure.asked("POST", "*/experiments/create")) == 2, "its derived name is the same each time"
    found = {each.name: each.where for each in cloud.experiments(connection)}
    assert found["꽃"] == "this machine and Azure" and not any(name.startswith("ggoc") for name in found)
    assert "0 in ws" in cloud.experiment("꽃", connection)._repr_mimebundle_()["text/plain"]
    view = cloud.experiment("flowers", connection)
    assert "Experiment flowers" in view._repr_mimebundle_()["text/plain"]
    assert "0 in ws" in view._repr_mimebundle_()["text/plain"]
    with pytest.raises(AzureError, match="no experiment nothing in kept nor in ws"):
        cloud.experiment("nothing", connection)
    with pytest.raises(AzureError, match="letters and digits of any script"):
        cloud.register_experiment("a b", connection)


def test_what_was_made_is_found_and_removed(azure):
    account = cloud.sign_in("environment")
    made = cloud.AzureWorkspace("flowers", "made-here", azure.subscription, "westeurope", account).create()
    connection: Connection = made.connection
    cloud.Compute("gpu", connection=connection).create()
    cloud.Compute("gpu-b", min_nodes=1, connection=connection).create()
    azure.make_workspace("theirs", "rg")
    azure.make_compute("not-ours", workspace="theirs")
    found = cloud.leftovers(account, azure.subscription)
    kinds = [(each.kind, each.name, each.costs_now) for each in found]
    assert ("compute", "gpu", False) in kinds and ("compute", "gpu-b", True) in kinds
    assert ("workspace", "flowers", False) in kinds and ("resource group", "made-here", False) in kinds
    assert not [each for each in found if each.name in ("theirs", "not-ours", "rg")]
    parts = [each for each in found if each.kind == "part"]
    assert len(parts) >= 3 and len({each.id for each in parts}) == len(parts)
    text = found._repr_mimebundle_()["text/plain"]
    assert "always stay up and cost money" in text and "for good" in text
    said = cloud.remove(found, azure.subscription)
    assert any("stays taken" in each for each in said)
    assert "made-here" not in azure.groups and "rg" in azure.groups
    assert [space.body["name"] for space in azure.workspaces.values()] == ["theirs"]
    assert not len(cloud.leftovers(account, azure.subscription))


def test_a_group_that_holds_something_else_is_kept(azure):
    account = cloud.sign_in("environment")
    cloud.AzureWorkspace("flowers", "shared", azure.subscription, "westeurope", account).create()
    action = f"{azure.groups['shared']['id']}/providers/Microsoft.Insights/actionGroups/on call"
    azure.resources[action.lower()] = {"id": action, "name": "on call", "type": "Microsoft.Insights/actionGroups"}
    said = cloud.remove(cloud.leftovers(account, azure.subscription), azure.subscription, purge=True)
    assert any("resource group shared is kept: it still holds 1 thing (on call)" in each for each in said)
    assert "shared" in azure.groups and not azure.soft_deleted
