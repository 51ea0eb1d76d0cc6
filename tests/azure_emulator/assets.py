"""Datastores, code, data and environments, and the place where the SDK uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .emulator import Azure
    from .workspaces import Workspace


def default_datastores(azure: Azure, space: Workspace) -> dict[str, dict[str, Any]]:
    """Return the two every workspace has."""
    return {}
