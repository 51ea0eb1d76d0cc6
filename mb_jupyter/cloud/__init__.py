"""Azure as the notebook sees it: what is chosen, what there is, what it costs, how it is made and removed.

The twins of ``%mb_workspace``, ``%mb_compute`` and ``%mb_experiment``. Nothing here imports ``azure``;
:mod:`mb_jupyter.azureml` does, when something is asked of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mb_jupyter.azureml.aside import aside

from .allowed import NOT_CHECKED
from .catalogue import CATALOGUE, Size, nearest
from .cleanup import Leftover, leftovers, remove
from .computes import Compute, computes, require_ready
from .experiments import experiment, experiments, register_experiment
from .listing import Listing
from .names import (
    Finding,
    check_compute_name,
    check_experiment_name,
    check_resource_group_name,
    check_workspace_name,
    free_name,
    require,
)
from .place import Chosen, choose, chosen, forget
from .preflight import Check, Preflight, Wanted, preflight
from .sizes import PRIORITIES, sizes
from .views import ABSENT, ComputeView, WorkspaceView, locate, subscription_of
from .workspaces import DELETED_DAYS, AzureWorkspace, regions, resource_groups, subscriptions, workspaces

if TYPE_CHECKING:
    from mb_jupyter.azureml import Account as Account
    from mb_jupyter.azureml import Connection as Connection
    from mb_jupyter.azureml import OnCode

__all__ = [
    "ABSENT",
    "CATALOGUE",
    "DELETED_DAYS",
    "NOT_CHECKED",
    "PRIORITIES",
    "AzureWorkspace",
    "Check",
    "Chosen",
    "Compute",
    "ComputeView",
    "Finding",
    "Leftover",
    "Listing",
    "Preflight",
    "Size",
    "Wanted",
    "WorkspaceView",
    "aside",
    "check_compute_name",
    "check_experiment_name",
    "check_resource_group_name",
    "check_workspace_name",
    "choose",
    "chosen",
    "computes",
    "experiment",
    "experiments",
    "forget",
    "free_name",
    "leftovers",
    "locate",
    "nearest",
    "preflight",
    "regions",
    "register_experiment",
    "remove",
    "require",
    "require_ready",
    "resource_groups",
    "sign_in",
    "sign_out",
    "sizes",
    "subscription_of",
    "subscriptions",
    "workspaces",
]


def sign_in(how: str, tenant: str | None = None, on_code: OnCode | None = None) -> Account:
    """Sign in by ``cli``, ``environment``, ``managed`` or ``device``; return who it is.

    ``on_code`` is called with the address, the code and until when it holds; only ``device`` does so.
    """
    from mb_jupyter.azureml.signin import sign_in as ask

    return ask(how, tenant, on_code)


def sign_out() -> None:
    """Forget who is signed in; nothing was ever written."""
    from mb_jupyter.azureml.signin import sign_out as end

    end()
