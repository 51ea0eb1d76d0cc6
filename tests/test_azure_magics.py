"""The commands about Azure, in a real IPython shell against the stand-in for Azure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mb_jupyter import cloud
from mb_jupyter.errors import MBError, SignInError
from tests.azure_shell import fails, run

HERE = "mb_jupyter.magics.asking"


@pytest.fixture
def shell(azure_shell: InteractiveShell) -> InteractiveShell:
    return azure_shell


@pytest.fixture
def chosen(azure: Any, shell: InteractiveShell) -> str:
    azure.make_workspace("ws", "rg")
    return run(shell, f"%mb_workspace use ws --sign-in environment -s {azure.subscription}")


def answers(monkeypatch: pytest.MonkeyPatch, *given: str) -> list[str]:
    """Let somebody be there who gives these answers, and return what was asked."""
    asked: list[str] = []
    waiting = list(given)
    monkeypatch.setattr(f"{HERE}.somebody_there", lambda: True)

    def answer(question: str = "") -> str:
        asked.append(question)
        return waiting.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    return asked


def test_without_azure_everything_is_as_it_was(azure, shell):
    assert "Local workspace" in run(shell, "%mb_workspace list")
    assert "Local workspace" in run(shell, "%mb_experiment")
    said = run(shell, "%mb_compute sizes")
    assert "Standard_NC12 " in said and "retired by Azure, 2023" in said
    assert not azure.exchanges, "nothing was asked of the network"
    fails(shell, "%mb_compute list", "No Azure workspace is chosen yet")
    fails(shell, "%mb_workspace create flowers -r westeurope", "not chosen yet how to sign in")


def test_a_workspace_is_chosen_and_shown(azure, shell, chosen, tmp_path):
    assert azure.user in chosen and "westeurope" in chosen and "https://ml.azure.com/?wsid=" in chosen
    kept = (tmp_path / "kept" / "azure.json").read_text()
    assert json.loads(kept)["resource_group"] == "rg" and json.loads(kept)["tenant"] == azure.tenant
    assert azure.client_secret not in kept
    assert not [token for token in azure.tokens if token in kept + chosen]
    assert "ws" in run(shell, "%mb_workspace list")
    run(shell, "%mb_workspace use local")
    assert "Local workspace" in run(shell, "%mb_workspace show")


def test_a_workspace_that_is_not_there_names_those_that_are(azure, shell, chosen):
    error = fails(shell, "%mb_workspace use other", "no workspace other")
    assert "There are: ws" in error.fix
    assert cloud.chosen().workspace == "ws"
    several = fails(shell, "%mb_workspace use ws -s nonsense", "sees no subscription nonsense")
    assert "Stand-in" in several.fix


def test_nobody_there_needs_a_yes(azure, shell, chosen):
    line = f"%mb_workspace create flowers -g made -r westeurope -s {azure.subscription}"
    assert "Add -y" in fails(shell, line, "Nobody is there to answer").fix
    assert "Add -y" in fails(shell, "%mb_compute create gpu", "Nobody is there to answer").fix
    fails(shell, "%mb_workspace delete ws", "Nobody is there to answer")
    assert not [e for e in azure.exchanges if e.method in ("PUT", "DELETE")]


def test_from_nothing_to_a_compute_and_back(azure, shell):
    place = f"--sign-in environment -s {azure.subscription}"
    said = run(shell, f"%mb_workspace create flowers -g made -r westeurope {place} -y")
    assert "making the workspace flowers" in said and "Azure workspace flowers" in said
    said = run(shell, "%mb_compute create gpu -y")
    assert "Compute gpu in flowers" in said and "low-priority" in said and "ready" in said
    assert cloud.chosen().compute == "gpu"
    assert "1 in the workspace flowers" in run(shell, "%mb_compute list")
    assert "0 to 1" in run(shell, "%mb_compute show")
    assert "Price an hour, USD" in run(shell, "%mb_compute sizes")
    said = run(shell, "%mb_workspace cleanup")
    assert "gpu" in said and "made" in said and "Nothing was deleted" in said
    said = run(shell, "%mb_workspace cleanup --delete -y")
    assert "resource group made is deleted" in said and not azure.workspaces


def test_the_answer_of_a_person_counts(azure, shell, chosen, monkeypatch):
    asked = answers(monkeypatch, "n", "y", "y")
    fails(shell, "%mb_compute create gpu --priority dedicated --nodes 2", "Not confirmed")
    assert "dedicated" in asked[0] and "at most 2 nodes" in asked[0]
    assert not azure.asked("PUT", "*/computes/*")
    run(shell, "%mb_compute create gpu --priority dedicated --nodes 2")
    run(shell, "%mb_compute delete gpu")
    assert cloud.chosen().compute == "" and len(asked) == 3


def test_wrong_names_are_told_before_any_question(azure, shell, chosen):
    azure.exchanges.clear()
    error = fails(shell, "%mb_compute create 7_x --size Standard_NC12 -y", "begins with a letter")
    assert "retired by Azure, 2023" in error.cause and "Model Builder" in error.cause
    assert not [e for e in azure.exchanges if e.method != "GET"]


def test_an_errored_compute_is_told_and_mended(azure, shell, chosen):
    azure.compute_error = {"code": "ClusterCoreQuotaReached", "message": "Azure's own words."}
    error = fails(shell, "%mb_compute create gpu -y", "Azure's own words")
    assert "%mb_compute recreate gpu" in error.fix and "gpu-b" in error.alternative
    assert "errored" in run(shell, "%mb_compute list")
    fails(shell, "%mb_compute use gpu", "errored state")
    azure.compute_error = None
    assert "ready" in run(shell, "%mb_compute recreate gpu -y")
    assert "gpu" in run(shell, "%mb_compute use gpu")


SOFT_DELETED, FAILS = "soft-deleted", "the deployment fails"


@pytest.mark.parametrize(
    ("trouble", "said", "fix"),
    [
        (SOFT_DELETED, "Soft-deleted workspace exists", "flowers-b"),
        (FAILS, "A policy of your organisation forbids", "administrators"),
    ],
)
def test_a_workspace_that_cannot_be_made_is_one_card(azure, shell, trouble, said, fix):
    if trouble == SOFT_DELETED:
        azure.soft_deleted.add(("made", "flowers"))
    else:
        azure.deployment_error = {"code": "RequestDisallowedByPolicy", "message": "Shared keys are not allowed."}
    place = f"-g made -r westeurope --sign-in environment -s {azure.subscription}"
    error = fails(shell, f"%mb_workspace create flowers {place} -y", said)
    assert fix in str(error) and "the resource group made" in error.cause, "what is half made is named"
    assert not cloud.chosen().workspace and not azure.workspaces
    assert "made" in run(shell, f"%mb_workspace cleanup --sign-in environment -s {azure.subscription}")


def test_the_name_of_a_deleted_workspace_is_freed(azure, shell, chosen):
    run(shell, "%mb_workspace delete ws -y")
    assert azure.soft_deleted == {("rg", "ws")}
    fails(shell, "%mb_workspace delete ws -g rg -y", "There is no workspace ws")
    said = run(shell, "%mb_workspace delete ws -g rg --purge -y")
    assert "is deleted for good" in said and not azure.soft_deleted
    error = fails(shell, "%mb_workspace delete ws -g rg --purge -y", "no workspace ws in rg, nor a deleted one")
    assert "--resource-group" in error.alternative


def test_a_provider_that_is_not_registered_is_registered(azure, shell):
    azure.providers["microsoft.machinelearningservices"] = "NotRegistered"
    place = f"-g made -r westeurope --sign-in environment -s {azure.subscription}"
    run(shell, f"%mb_workspace create flowers {place} -y")
    assert azure.providers["microsoft.machinelearningservices"] == "Registered"


def test_contributor_of_the_resource_group_only(azure, shell, tmp_path):
    from tests.standin import write_pictures

    azure.make_group("made")
    azure.role_of_group = True
    place = f"-g made -r westeurope --sign-in environment -s {azure.subscription}"
    said = run(shell, f"%mb_workspace create flowers {place} -y")
    assert "Not checked: the region" in said and "Not checked: whether the providers are registered" in said
    said = run(shell, "%mb_compute create gpu --size Standard_NC64as_T4_v3 -y")
    assert "Not checked: whether the region offers the size" in said and "ready" in said
    assert "The catalogue. Not checked" in run(shell, "%mb_compute sizes")
    fails(shell, "%mb_compute create other --size Standard_NC12 -y", "retired by Azure, 2023")
    azure.fault("PUT", "*/computes/*", status=400)
    fails(shell, "%mb_compute create other -y", "quota of 0 and cannot accomodate")
    write_pictures(tmp_path / "trees")
    plan = run(shell, "%%mb_train trees --backend azure --dry-run\ndata: trees")
    assert "not checked: the account may not ask this of the subscription" in plan
    assert cloud.preflight(cloud.chosen()).gpus == 4, "as the catalogue says"


def test_a_compute_that_azure_refuses_at_once_is_one_card(azure, shell, chosen):
    azure.fault("PUT", "*/computes/*", status=400)
    error = fails(shell, "%mb_compute create gpu -y", "quota of 0 and cannot accomodate")
    assert error.status == 400 and not cloud.chosen().compute
    assert "0 in the workspace ws" in run(shell, "%mb_compute list"), "nothing is half made"


def test_experiments_of_both_sides(azure, shell, chosen):
    cloud.register_experiment("flowers", cloud.chosen().connect())
    said = run(shell, "%mb_experiment list")
    assert "this machine and Azure" in said
    assert "Experiment flowers" in run(shell, "%mb_experiment show flowers")


def test_a_device_code_is_shown_in_the_cell(azure, shell, monkeypatch):
    azure.make_workspace("ws", "rg")
    line = f"%mb_workspace use ws --sign-in device --tenant {azure.tenant} -s {azure.subscription}"
    with capture_output(), pytest.raises(SignInError, match="somebody who types"):
        shell.run_cell(line).raise_error()
    monkeypatch.setattr(f"{HERE}.somebody_there", lambda: True)
    said = run(shell, line)
    assert "https://microsoft.com/devicelogin" in said and "STANDIN42" in said
    assert "Azure workspace ws" in said


def test_a_device_code_is_typed_in_once(azure, shell, monkeypatch):
    azure.make_workspace("ws", "rg")
    monkeypatch.setattr(f"{HERE}.somebody_there", lambda: True)
    run(shell, f"%mb_workspace use ws --sign-in device -s {azure.subscription}")
    assert cloud.chosen().tenant == azure.tenant
    run(shell, "%mb_compute list")
    assert len(azure.asked("POST", "*/devicecode")) == 1


def test_stopping_says_what_azure_may_go_on_with(azure, shell, chosen, monkeypatch):
    def stopped(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mb_jupyter.azureml.arm.Arm.wait", stopped)
    with capture_output(), pytest.raises(MBError, match="may go on with") as caught:
        shell.run_cell("%mb_compute create gpu -y").raise_error()
    assert "%mb_compute list" in caught.value.fix


def complete(shell: InteractiveShell, text: str) -> list[str]:
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(text, len(text))]


def test_tab_knows_the_words_and_asks_nothing(azure, shell):
    cloud.choose(sign_in="cli", subscription="s", resource_group="rg", workspace="ws", compute="gpu-t4")
    assert complete(shell, "%mb_workspace cl") == ["cleanup"]
    assert complete(shell, "%mb_compute re") == ["recreate"]
    assert complete(shell, "%mb_compute recreate g") == ["gpu-t4"]
    assert complete(shell, "%mb_workspace use w") == ["ws"]
    assert complete(shell, "%mb_compute create gpu --size Standard_NC40") == ["Standard_NC40ads_H100_v5"]
    assert complete(shell, "%mb_compute create gpu --priority l") == ["low-priority"]
    assert complete(shell, "%mb_workspace use --sign-in d") == ["device"]
    assert complete(shell, "%mb_compute create gpu --min") == ["--min-nodes"]
    assert not azure.exchanges


WATCHED = """
import sys, threading
from IPython.core.interactiveshell import InteractiveShell

seen = {}
def heard(event, facts):
    if event == "import" and facts[0].split(".")[0] in ("azure", "msal", "msrest"):
        seen.setdefault(facts[0], threading.current_thread() is threading.main_thread())
sys.addaudithook(heard)
shell = InteractiveShell.instance()
for cell in sys.argv[1:]:
    before = len(seen)
    shell.run_cell(cell).raise_error()
    if len(seen) > before:
        print("imported by:", cell.split("--")[0], flush=True)
print("in the kernel's thread:", sorted(name for name, main in seen.items() if main))
print("in all:", len(seen))
"""


def test_azure_is_imported_when_it_is_needed_and_off_the_kernels_thread(azure, tmp_path, monkeypatch):
    from tests.standin import USE, write_pictures

    write_pictures(tmp_path / "trees")
    monkeypatch.setenv("MB_WORKSPACE", str(tmp_path / "kept"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    place = f"--sign-in environment -s {azure.subscription}"
    done = subprocess.run(
        [
            sys.executable, "-c", WATCHED, f"{USE}\n%load_ext mb_jupyter", "%mb_compute sizes", "%mb_workspace list",
            "%mb_data trees", f"%mb_workspace list {place}", f"%mb_workspace create flowers -r westeurope {place} -y",
            "%mb_compute create gpu -y", "%mb_compute sizes", "%mb_experiment list", "%mb_compute list",
            "%%mb_train trees --backend azure --dry-run\ndata: trees",
            "%%mb_train trees --backend azure\ndata: trees\nepochs: 1", "%mb_runs", "%mb_workspace cleanup --delete -y",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in the kernel's thread: []" in done.stdout, done.stdout
    first = done.stdout.index("imported by: ")
    assert done.stdout[first:].startswith("imported by: %mb_workspace list "), "what needs no Azure imports none"
    assert int(done.stdout.rpartition("in all: ")[2]) > 100, "the SDK was imported"
