"""Names, sizes and the choice: all that is known before anything is asked of the network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mb_jupyter import cloud
from mb_jupyter.cloud.catalogue import find
from mb_jupyter.errors import AzureError, WorkspaceError


def errors(found: list[cloud.Finding]) -> list[tuple[str, str]]:
    return [(each.says, each.message) for each in found if each.severity == "error"]


@pytest.mark.parametrize("name", ["abc", "flowers", "Team-7", "7-team", "a" * 33])
def test_a_workspace_may_be_called(name):
    assert cloud.check_workspace_name(name) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", ["3 to 33"]),
        ("ab", ["3 to 33"]),
        ("a" * 34, ["has 34"]),
        ("under_score", ["not '_'"]),
        ("blümchen", ["not 'ü'"]),
        ("-x", ["3 to 33", "begins with"]),
        ("a b!c", ["not ' ' '!'"]),
    ],
)
def test_a_workspace_may_not_be_called(name, said):
    found = errors(cloud.check_workspace_name(name))
    assert len(found) == len(said)
    assert all(part in message for part, (_, message) in zip(said, found, strict=True))


@pytest.mark.parametrize("name", ["gpu", "gpu-t4", "a" * 16, "gpu7", "A-1b"])
def test_a_compute_may_be_called(name):
    assert cloud.check_compute_name(name) == []


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("g", ["Model Builder"]),
        ("a" * 17, ["Model Builder"]),
        ("gpu_t4", ["Model Builder"]),
        ("gp", ["Azure"]),  # ours allows two characters, Azure wants three today
        ("7gpu", ["Azure"]),
        ("gpu-12", ["Azure"]),
        ("gpu-", ["Azure"]),
        ("7_x-1", ["Model Builder", "Azure", "Azure"]),  # everything at once
        ("gpu\n", ["Model Builder"]),
    ],
)
def test_each_rule_of_a_compute_says_who_demands_it(name, who):
    assert [says for says, _ in errors(cloud.check_compute_name(name))] == who


def test_resource_groups_and_experiments():
    assert cloud.check_resource_group_name("my_group.(1)-x") == []
    assert len(errors(cloud.check_resource_group_name("a/b."))) == 2
    assert errors(cloud.check_resource_group_name("a" * 91))
    assert cloud.check_experiment_name("flowers_2") == []
    assert errors(cloud.check_experiment_name("a b"))


def test_a_free_name_is_one_azure_takes():
    assert cloud.free_name("gpu", []) == "gpu"
    assert cloud.free_name("gpu", ["GPU"]) == "gpu-b"
    taken = {cloud.free_name("gpu-12", [])}
    for _ in range(40):
        name = cloud.free_name("gpu-12", taken)
        assert name not in taken and not errors(cloud.check_compute_name(name))
        taken.add(name)
    for odd in ("", "é", "1", "_" * 40, "x" * 40):
        assert not errors(cloud.check_compute_name(cloud.free_name(odd, [])))


def test_the_catalogue_has_every_column():
    rows = {size.name: size for size in cloud.CATALOGUE}
    nc12 = rows["Standard_NC12"]
    assert (nc12.vcpu, nc12.memory_gib, nc12.storage_gib, nc12.gpus, nc12.gpu_memory_gib) == (12, 112, 680, 2, 24)
    assert (nc12.data_disks, nc12.nics, nc12.retired) == (48, 2, "retired by Azure, 2023")
    nc24 = rows["Standard_NC24"]
    assert (nc24.vcpu, nc24.memory_gib, nc24.storage_gib, nc24.gpus, nc24.gpu_memory_gib) == (24, 224, 1440, 4, 48)
    assert (nc24.data_disks, nc24.nics, nc24.retired) == (64, 4, "retired by Azure, 2023")
    shown = cloud.sizes()._repr_mimebundle_()
    for size in cloud.CATALOGUE:
        assert size.name in shown["text/plain"] and size.name in shown["text/html"]
    for column in ("vCPU", "Memory GiB", "Temporary storage GiB", "GPUs", "GPU memory GiB", "Data disks", "NICs"):
        assert column in shown["text/plain"] and column in shown["text/html"]
    assert "Spot" in shown["text/plain"]
    assert len(cloud.sizes().frame) == len(cloud.CATALOGUE)


def test_the_nearest_size():
    offered = [size for size in cloud.CATALOGUE if not size.retired]

    def nearest(name: str) -> str:
        found = cloud.nearest(name, offered)
        assert found is not None
        return found.name

    assert nearest("Standard_NC6s_v3") == "Standard_NC4as_T4_v3"
    assert find(nearest("Standard_NC12")).gpus == 2  # type: ignore[union-attr]
    assert find(nearest("Standard_NC24")).gpus == 4  # type: ignore[union-attr]
    assert nearest("standard_nc4as_t4v3") == "Standard_NC4as_T4_v3"  # misspelt
    assert nearest("Standard_Nonsense") in {size.name for size in offered if size.gpus == 1}
    assert cloud.nearest("Standard_NC12", []) is None


def test_all_findings_of_a_compute_come_at_once():
    wanted = cloud.Compute("7_x", "Standard_NC12", "cheap", max_nodes=0, idle_minutes=0)
    messages = " ".join(message for _, message in errors(wanted.findings()))
    for part in (
        "letters",
        "begins with",
        "retired by Azure, 2023",
        "nearest offered",
        "'cheap'",
        "nodes",
        "idle time",
    ):
        assert part in messages
    fine = cloud.Compute("gpu").findings()
    assert not errors(fine)
    assert any("Spot" in each.message for each in fine)
    assert any("day and night" in each.message for each in cloud.Compute("gpu", min_nodes=1).findings())
    assert any(
        "no GPU" in e.message
        for e in cloud.Compute("cpu", "Standard_D4s_v3").findings([cloud.Size("Standard_D4s_v3", 4, 16, 32, 0)])
    )


@pytest.mark.parametrize(
    ("size", "priority", "severity", "said"),
    [
        (cloud.Size("Standard_X", 8, 1, 1, 1, quota=0, quota_left=0), "dedicated", "error", "quota is 0 vCPUs"),
        (cloud.Size("Standard_X", 8, 1, 1, 1, quota=8, quota_left=0), "dedicated", "warning", "0 vCPUs are left now"),
        (cloud.Size("Standard_X", 8, 1, 1, 1, quota=8, quota_left=8), "dedicated", "warning", "enough for 1 of 2"),
        (cloud.Size("Standard_X", 8, 1, 1, 1, low_priority=False), "low-priority", "error", "take dedicated"),
        (cloud.Size("Standard_X", 8, 1, 1, 1, low_priority_quota=4), "low-priority", "error", "quota is 4 vCPUs"),
    ],
)
def test_quota_is_a_finding(size, priority, severity, said):
    found = cloud.Compute("gpu", "standard_x", priority, max_nodes=2).findings([size])
    assert any(each.severity == severity and said in each.message for each in found)


def test_all_findings_of_a_workspace_come_at_once():
    found = errors(cloud.AzureWorkspace("a_b", "x.", "").findings())
    assert len(found) == 4
    assert not errors(cloud.AzureWorkspace("abc", "group", "id", "westeurope").findings())
    assert any("close to you" in e.message for e in cloud.AzureWorkspace("abc", "g", "id", "westeurope").findings())


def test_the_choice_is_kept_beside_the_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "kept"))
    assert cloud.chosen() == cloud.Chosen()
    assert not cloud.chosen().complete
    with pytest.raises(AzureError, match="No Azure workspace is chosen yet"):
        cloud.chosen().connect()
    cloud.choose(sign_in="cli", subscription="s", resource_group="rg", workspace="one", compute="gpu")
    assert cloud.chosen().complete and cloud.chosen().place.workspace_path.endswith(
        "/rg/providers/Microsoft.MachineLearningServices/workspaces/one"
    )
    assert cloud.choose(region="westeurope").compute == "gpu"
    assert cloud.choose(workspace="two").compute == "", "another workspace has other computes"
    kept = json.loads((tmp_path / "kept" / "azure.json").read_text())
    assert set(kept) <= {"sign_in", "tenant", "subscription", "resource_group", "workspace", "region", "compute"}
    cloud.forget()
    assert cloud.chosen() == cloud.Chosen()


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_damaged_choice_is_told(tmp_path: Path, monkeypatch, text):
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path))
    (tmp_path / "azure.json").write_text(text)
    with pytest.raises(WorkspaceError, match=r"azure\.json cannot be read"):
        cloud.chosen()
