"""Which account and which place in Azure were chosen: kept in ``azure.json`` of the local workspace, no secret."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mb_jupyter.errors import AzureError, WorkspaceError
from mb_jupyter.training import disk
from mb_jupyter.workspace import Workspace

if TYPE_CHECKING:
    from mb_jupyter.azureml import Connection, OnCode, Place

FILE = "azure.json"


@dataclass(frozen=True)
class Chosen:
    """What ``%mb_workspace use`` and ``%mb_compute use`` have chosen; an empty text is not chosen yet."""

    sign_in: str = ""
    tenant: str = ""
    subscription: str = ""
    resource_group: str = ""
    workspace: str = ""
    region: str = ""
    compute: str = ""

    @property
    def place(self) -> Place:
        """The place as the Azure room takes it."""
        from mb_jupyter.azureml import Place

        return Place(self.subscription, self.resource_group, self.workspace, self.region, self.tenant)

    @property
    def complete(self) -> bool:
        """Tell whether there is a workspace to connect to."""
        return bool(self.sign_in and self.subscription and self.resource_group and self.workspace)

    def over(self, **changes: str | None) -> Chosen:
        """Return this with other values where there are any; another workspace takes the compute's choice away."""
        after = replace(self, **{key: value for key, value in changes.items() if value is not None})
        if self.workspace and self._workspace != after._workspace and not changes.get("compute"):
            after = replace(after, compute="")
        return after

    @property
    def _workspace(self) -> tuple[str, str, str]:
        return self.subscription, self.resource_group.casefold(), self.workspace.casefold()

    def connect(self, on_code: OnCode | None = None) -> Connection:
        """Return a connection to the workspace; raises ``AzureError`` when something is not chosen yet."""
        from mb_jupyter.azureml import connect

        missing = [
            name.replace("_", " ")
            for name in ("sign_in", "subscription", "resource_group", "workspace")
            if not getattr(self, name)
        ]
        if missing:
            raise AzureError(
                f"No Azure workspace is chosen yet: {', '.join(missing)} missing.",
                "Choose: %mb_workspace use NAME --sign-in cli --subscription ID --resource-group GROUP.",
                "%mb_workspace list --sign-in cli shows which there are.",
            )
        return connect(self.sign_in, self.place, on_code)


def chosen(local: Workspace | None = None, /) -> Chosen:
    """Return what was chosen; every field empty when nothing was."""
    path = (local or Workspace.local()).root / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(kept, dict):
            raise ValueError("it holds no mapping")
    except FileNotFoundError:
        return Chosen()
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{path} cannot be read: {error}.", "Delete it, then choose again with %mb_workspace use."
        ) from error
    known = {field.name for field in fields(Chosen)}
    return Chosen(**{key: str(value) for key, value in kept.items() if key in known and value is not None})


def choose(local: Workspace | None = None, /, **changes: str) -> Chosen:
    """Change what is chosen and keep it; another workspace takes the compute's choice away."""
    place = local or Workspace.local()
    after = chosen(place).over(**changes)
    _write(place, asdict(after))
    return after


def forget(local: Workspace | None = None, /) -> None:
    """Choose nothing any more; nothing is deleted in Azure."""
    ((local or Workspace.local()).root / FILE).unlink(missing_ok=True)


def _write(place: Workspace, values: dict[str, Any]) -> None:
    path = place.root / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.swap(path, json.dumps({k: v for k, v in values.items() if v}, indent=1).encode())
    except OSError as error:
        raise WorkspaceError(
            f"The choice cannot be kept in {path}: {error.strerror or error}.",
            "Set the environment variable MB_WORKSPACE to a folder of yours.",
        ) from error
