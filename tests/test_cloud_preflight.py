"""The pre-flight, the experiments of both sides and the clean-up, against the stand-in for Azure."""

from __future__ import annotations

import re
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


def _unregistered(azure):
    azure.providers["microsoft.machinelearningservices"] = "NotRegistered"


def _no_quota(azure):
    azure.low_priority_cores = 0


@pytest.mark.parametrize(
    ("spoil", "name", "said", "fix"),
    [
        (_errored, "compute", "The cores are gone", "recreate gpu"),
        (_unregistered, "provider", "NotRegistered", "registers it"),
        (_no_quota, "quota", "0 of 0 low-priority vCPUs left, 4 needed", "Quota"),
    ],
    ids=["compute", "provider", "quota"],
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


SUBMITTER = [
    "*/read", "environments/write", "jobs/*", "metadata/artifacts/write", "metadata/codes/*/write",
    "environments/build/action", "environments/readSecrets/action",
]  # fmt: skip
"""Below the workspace: what Microsoft's table of rights names for "submitting any type of run (V2)"."""


def role(*actions: str, without: tuple[str, ...] = ()) -> dict[str, list[str]]:
    base = "Microsoft.MachineLearningServices/workspaces/"
    return {"actions": [base + each for each in actions], "notActions": [base + each for each in without]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (role(*SUBMITTER), "may submit jobs"),
        (
            role("*/read", "*/action", "*/delete", "*/write", without=("delete", "write", "computes/*/write")),
            "may submit",
        ),
        (role("*/read", "jobs/write", "codes/versions/write"), "may submit jobs"),
        (role("*/read", "jobs/*"), "do not name codes/write; Azure may refuse"),
        (role(*SUBMITTER, without=("jobs/write",)), "do not name jobs/write;"),
        ("Reader", "do not name jobs/write and codes/write;"),
    ],
    ids=["submitter", "data scientist", "least", "no code", "taken away", "reader"],
)
def test_what_is_guessed_of_the_rights_stops_nothing(azure, place, given, said):
    azure.role = given
    flight = cloud.preflight(place)
    check = line(flight, "role")
    assert said in check.said and flight.ok
    assert check.ok is (True if "may submit" in said else None)
    assert check.ok or "AzureML Data Scientist" in check.fix


@pytest.mark.parametrize(
    ("where", "name", "status"),
    [("*/permissions", "role", 404), ("*/vmSizes", "size", 500), ("*/providers/*Services", "provider", 400)],
)
def test_an_optional_question_that_fails_stops_nothing(azure, place, where, name, status):
    azure.fault("GET", where, 99, status=status)
    flight = cloud.preflight(place, seconds=30)
    check = line(flight, name)
    assert check.ok is None and "does not need it" in check.fix and flight.ok
    assert not re.search(r"\b(GET|POST)\b", check.said), "a cause is in words"


def test_a_question_that_fails_is_named_in_words(azure, place):
    azure.fault("GET", "*/permissions", 99, status=400)
    azure.fault("GET", "*/workspaces/ws/computes", 99, status=404)
    flight = cloud.preflight(place)
    assert "reading the account's rights" in line(flight, "role").said
    assert "reading the computes" in line(flight, "compute").said


def test_a_size_that_the_region_does_not_list_is_a_note(azure, place):
    azure.sizes_withheld.add("Standard_NC4as_T4_v3")
    flight = cloud.preflight(place)
    assert line(flight, "size").ok is None and "does not list Standard_NC4as_T4_v3" in line(flight, "size").said
    assert "Standard_NC8as_T4_v3" in line(flight, "size").fix and flight.ok and flight.gpus == 1


def test_a_limit_of_the_cost_without_a_price(azure, place):
    """It can only be kept by the time, and how is said before anything is sent."""
    azure.sizes_withheld.add("Standard_NC4as_T4_v3")
    flight = cloud.preflight(place, cloud.Wanted(max_cost=2))
    assert line(flight, "caps").ok is False and "--max-minutes 60" in line(flight, "caps").fix
    flight = cloud.preflight(place, cloud.Wanted(max_cost=2, max_minutes=30))
    assert flight.ok and line(flight, "caps").ok is None and "not kept without a price" in line(flight, "caps").said


@pytest.mark.parametrize("kind", ["Hub", "Project", "FeatureStore"])
def test_a_workspace_of_another_kind_is_a_note(azure, place, kind):
    azure.make_workspace("other", "rg", kind=kind)
    flight = cloud.preflight(cloud.choose(workspace="other"))
    assert line(flight, "kind").ok is None and f"of the kind {kind}" in line(flight, "kind").said
    listed = cloud.workspaces(cloud.sign_in("environment"), azure.subscription)
    assert kind in listed._repr_mimebundle_()["text/plain"]


def test_a_closed_network_is_a_note(azure, place):
    azure.isolation, azure.public_access = "AllowOnlyApprovedOutbound", "Disabled"
    azure.make_workspace("closed", "rg")
    azure.make_compute("gpu", workspace="closed")
    flight = cloud.preflight(cloud.choose(workspace="closed", compute="gpu"))
    assert flight.ok and flight.has_closed_nodes
    nodes, workspace = (check for check in flight.checks if check.name == "network")
    assert nodes.ok is None and "approved" in nodes.said and "weights: FILE" in nodes.fix
    assert workspace.ok is None and "inside its network" in workspace.fix


def test_what_is_asked_for_does_not_fit(azure, place):
    flight = cloud.preflight(place, cloud.Wanted(nodes=3, max_minutes=600, max_cost=0.5, remote=True))
    assert "at most 2" in line(flight, "nodes").said
    assert line(flight, "caps").ok is None and "ends the job after" in line(flight, "caps").said
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
