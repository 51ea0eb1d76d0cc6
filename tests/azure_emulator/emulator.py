"""Azure: the stand-in as a test holds it. Attributes say how the world is; methods change it."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import stat
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme

from . import arm, assets, computes, login, workspaces
from .arm import Operation
from .blobs import Azurite
from .faults import Fault, Faults, Kind
from .jobs import Job
from .messages import Exchange
from .proxy import start_proxy
from .server import Handler, Server
from .workspaces import Workspace

NAMES = (
    "management.azure.com", "login.microsoftonline.com", "login.windows.net", "*.api.azureml.ms",
    "*.blob.core.windows.net", "*.dfs.core.windows.net", "ml.azure.com", "localhost", "127.0.0.1",
)  # fmt: skip


class World:
    """What a test may set; ``reset`` puts it all back."""

    def reset(self) -> None:
        """Begin anew: one tenant, two subscriptions, all providers registered, nothing else."""
        self.tenant = "11111111-2222-3333-4444-555555555555"
        self.subscription = "00000000-0000-0000-0000-000000000001"
        self.subscriptions = {
            self.subscription: "Stand-in",
            "00000000-0000-0000-0000-000000000002": "Stand-in, the other",
        }
        self.client_id, self.client_secret = "66666666-7777-8888-9999-000000000000", "stand-in~" + uuid.uuid4().hex
        self.user, self.user_id = "ada@example.org", "aaaaaaaa-0000-0000-0000-000000000001"
        # Owner, Contributor, Reader, or a custom role: {"actions": [...], "notActions": [...]}
        self.role: str | dict[str, list[str]] = "Owner"
        self.role_of_group = False  # the role is of the resource groups: what belongs to the subscription is refused
        self.token_lifetime = 3599.0  # seconds
        self.device_code_polls = 1  # how often "pending" is answered before the code counts as typed
        self.device_refused = ""  # expired_token, authorization_declined
        self.device_polls, self.device_scope = 0, ""
        self.managed_identity = False  # whether the metadata address of a virtual machine answers
        self.providers = {name.lower(): "Registered" for name in arm.PROVIDERS}
        self.page_size = 0  # of every list; 0: all at once
        self.slowness = 1  # how often each state of a long operation is repeated
        self.operations_held = False  # what has been begun goes on until a test lets it end
        self.deployment_error: dict[str, str] | None = None  # {"code", "message"}: workspace creation fails
        self.compute_error: dict[str, str] | None = None  # the same: compute creation fails after its 201
        self.broken_dependents = False
        self.datastore_credentials = "Sas"  # Sas, AccountKey, None (identity)
        # of workspaces that are made from now on
        self.isolation, self.public_access = "Disabled", "Enabled"
        self.keys_refused = False  # the account takes no signature made with its key, whatever the datastore has
        self.mounts_refused = False  # a node cannot mount a datastore that has no key, not even as its user
        self.sas_lifetime = 3600.0  # seconds
        self.pace = 0.05  # seconds a job rests in each state before it runs
        self.image_build_log = ""  # of an environment's image that cannot be built: jobs fail before they have a node
        self.unseen = 0  # how often a job that was just made is not found (404), as if Azure had forgotten it
        self.exit_crash = False  # a node's process ends well, and crashes while it ends
        self.queue_held = False  # no node is free: jobs stay Queued
        self.sizes_withheld: set[str] = set()  # sizes a region does not offer
        self.low_priority_cores = 100
        self.kept_sizes: dict[str, str] = {}  # compute -> the size its name had before it was deleted, and gets again
        self.limits: dict[str, int] = {}  # family -> cores, over the usual ones
        self.used: dict[str, int] = {}  # family -> cores in use elsewhere
        self.offline = False  # the client's proxy closes every connection
        self.direct_blobs = False  # blobs straight to Azurite, neither recorded nor spoilt; for measuring
        # what there is
        self.tokens: dict[str, float] = {}
        self.operations: dict[str, Operation] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.workspaces: dict[tuple[str, str], Workspace] = {}
        self.taken: list[Workspace] = []  # out of sight, with jobs that may run
        self.soft_deleted: set[tuple[str, str]] = set()
        # what happened
        self.exchanges: list[Exchange] = []
        self.denied: list[str] = []
        self.broken: list[str] = []

    @property
    def datastore_credentials_mode(self) -> str:
        """The workspace's word for how its datastores are opened."""
        return "identity" if self.datastore_credentials == "None" else "accesskey"


class Azure(World):
    """Everything that runs, and the world it shows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock, self.closing = folder, threading.RLock(), threading.Event()
        ca = trustme.CA()
        leaf = ca.issue_cert(*NAMES)
        self.ca, cert, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        ca.cert_pem.write_to_path(self.ca)
        leaf.private_key_pem.write_to_path(key)
        for number, blob in enumerate(leaf.cert_chain_pems):
            blob.write_to_path(cert, append=number > 0)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(cert, key)
        self.azurite = Azurite(folder, cert, key, self.ca)
        self.faults = Faults()
        World.reset(self)
        self.server = Server(self, Handler, inside=False, tls=True)
        self.inside_server = Server(self, Handler, inside=True, tls=True)
        self.server.start()
        self.inside_server.start()
        self.proxy, self.inside_proxy = start_proxy(self, inside=False), start_proxy(self, inside=True)

    def reset(self) -> None:
        """End what runs and forget what happened."""
        for space in (*self.workspaces.values(), *self.taken):
            space.close()
        shutil.rmtree(self.folder / "jobs", ignore_errors=True)
        self.faults.clear()
        World.reset(self)
        self.azurite.clear()
        self.azurite.signatures.clear()

    def stop(self) -> None:
        """End everything."""
        self.closing.set()
        for space in (*self.workspaces.values(), *self.taken):
            space.close()
        for server in (self.proxy, self.inside_proxy, self.server, self.inside_server):
            server.stop()
        self.azurite.stop()

    # --- for a test -------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the SDK finds the stand-in and signs in by ``EnvironmentCredential``."""
        return {**self.network_environment, "AZURE_TENANT_ID": self.tenant, "AZURE_CLIENT_ID": self.client_id,
                "AZURE_CLIENT_SECRET": self.client_secret}  # fmt: skip

    @property
    def network_environment(self) -> dict[str, str]:
        """The same without the sign-in."""
        return self.network(self.proxy.port)

    def network(self, port: int) -> dict[str, str]:
        """The variables that lead through a proxy."""
        proxy = f"http://127.0.0.1:{port}"
        return {"HTTPS_PROXY": proxy, "https_proxy": proxy, "HTTP_PROXY": proxy, "http_proxy": proxy,
                "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
                "REQUESTS_CA_BUNDLE": str(self.ca), "SSL_CERT_FILE": str(self.ca)}  # fmt: skip

    def fault(self, method: str, where: str, times: int = 1, *, kind: Kind = "status", **more: Any) -> Fault:
        """Spoil the next requests whose host and path match a glob such as ``*/computes/*``; see ``Fault``."""
        return self.faults.add(Fault(method, where, times, kind, **more))

    @contextmanager
    def no_network(self) -> Iterator[None]:
        """Cut the client off: open connections break, new ones are closed at once. Nodes stay connected."""
        self.offline = True
        self.proxy.drop()
        try:
            yield
        finally:
            self.offline = False

    def expire_tokens(self, *, nodes: bool = True) -> None:
        """Make every token given so far worthless; those of ``nodes`` live a day."""
        for token, until in self.tokens.items():
            if nodes or until < time.time() + 2 * self.token_lifetime:
                self.tokens[token] = 0.0

    def asked(self, method: str, where: str) -> list[Exchange]:
        """Return the client's exchanges whose host and path match a glob."""
        import fnmatch

        return [one for one in list(self.exchanges) if not one.inside and method in ("*", one.method)
                and fnmatch.fnmatchcase(one.where.lower(), where.lower())]  # fmt: skip

    def is_blob_host(self, host: str) -> bool:
        """Whether a host is the storage account."""
        return host == f"{self.azurite.account}.blob.core.windows.net"

    def now(self) -> str:
        """The time as Azure writes it."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")

    def az_login(self, folder: Path, signed_in: bool = True) -> str:
        """Put an ``az`` into a folder that answers as Azure's command line does; return a PATH that finds it."""
        token = login.issue(self, "https://management.azure.com")
        expires = datetime.fromtimestamp(self.tokens[token]).strftime("%Y-%m-%d %H:%M:%S.000000")
        answer = (
            f'{{"accessToken": "{token}", "expiresOn": "{expires}", "expires_on": {int(self.tokens[token])}, '
            f'"subscription": "{self.subscription}", "tenant": "{self.tenant}", "tokenType": "Bearer"}}'
        )
        told = folder / "az-answer.json"
        told.write_text(answer if signed_in else "")
        refusal = "ERROR: Please run 'az login' to setup account."
        script = f'#!/bin/sh\n[ -s "{told}" ] && exec cat "{told}"\necho "{refusal}" >&2\nexit 1\n'
        program = folder / "az"
        program.write_text(script)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return os.pathsep.join((str(folder), os.environ["PATH"]))

    def make_group(
        self, name: str = "rg", region: str = "westeurope", tags: dict[str, str] | None = None, sub: str = ""
    ) -> dict[str, Any]:
        """Make a resource group without asking."""
        body = {
            "id": f"/subscriptions/{sub or self.subscription}/resourceGroups/{name}",
            "name": name,
            "location": region,
            "type": "Microsoft.Resources/resourceGroups",
            "tags": tags or {},
            "properties": {"provisioningState": "Succeeded"},
        }
        self.groups[name.lower()] = body
        return body

    def make_workspace(self, name: str = "ws", group: str = "rg", region: str = "westeurope", **more: Any) -> Workspace:
        """Make a workspace, and its group if it is not there."""
        if group.lower() not in self.groups:
            self.make_group(group, region)
        return workspaces.make(self, self.subscription, group, name, region, **more)

    def make_compute(
        self,
        name: str = "gpu",
        size: str = "Standard_NC4as_T4_v3",
        *,
        workspace: str = "ws",
        low_priority: bool = True,
        nodes: tuple[int, int] = (0, 1),
        error: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a cluster in a workspace; with an error, one whose creation failed."""
        space = next(one for one in self.workspaces.values() if one.body["name"] == workspace)
        body = computes.make(self, space, name, size, low_priority=low_priority, nodes=nodes)
        if error:
            computes.spoil(body, error["code"], error["message"])
        return body

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs of all workspaces by name."""
        return {name: job for space in self.workspaces.values() for name, job in space.jobs.items()}

    def preempt(self, name: str) -> None:
        """Take a job's nodes away without notice; it is queued again and starts from its command."""
        self.jobs[name].preempted.set()

    def break_mounts(self, name: str) -> None:
        """Let every use of a job's mounted outputs fail on its nodes, until ``mend_mounts``."""
        execution = self.jobs[name].execution
        assert execution
        execution.break_mounts()

    def mend_mounts(self, name: str) -> None:
        """Let them work again, with what was in them."""
        execution = self.jobs[name].execution
        assert execution
        execution.mend_mounts()

    def take_workspace(self, name: str = "ws", group: str = "rg", *, running: bool = False) -> Workspace:
        """Let a workspace be gone from now on: every route of it answers 404, its storage stays.

        Its jobs end, unless they are left ``running``: then it can be given back with ``give_workspace``.
        """
        space = self.workspaces.pop((group.lower(), name.lower()))
        if running:
            self.taken.append(space)
        else:
            space.close()
        return space

    def give_workspace(self, space: Workspace, group: str = "rg") -> None:
        """Let it be there again."""
        self.workspaces[(group.lower(), space.body["name"].lower())] = space

    def kill(self, name: str, rank: int = 0) -> None:
        """Kill one process of a job, as a node does that has run out of memory."""
        execution = self.jobs[name].execution
        assert execution
        os.killpg(execution.processes[rank].pid, signal.SIGKILL)

    def put_blobs(self, datastore_path: str, files: dict[str, bytes], *, workspace: str = "ws") -> None:
        """Store files under an ``azureml://datastores/.../paths/...`` path."""
        space = next(one for one in self.workspaces.values() if one.body["name"] == workspace)
        container, prefix = assets.locate(self, space, datastore_path)
        for name, data in files.items():
            self.azurite.container(container).upload_blob(prefix.rstrip("/") + "/" + name, data, overwrite=True)

    def blobs(self, datastore_path: str, *, workspace: str = "ws") -> dict[str, bytes]:
        """Return what lies under such a path."""
        space = next(one for one in self.workspaces.values() if one.body["name"] == workspace)
        name, prefix = assets.locate(self, space, datastore_path)
        container = self.azurite.container(name)
        found = [blob.name for blob in container.list_blobs(name_starts_with=prefix)]
        return {one[len(prefix) :].lstrip("/"): container.download_blob(one).readall() for one in found}

    def remove_blobs(self, datastore_path: str, *names: str, workspace: str = "ws") -> None:
        """Remove files under such a path."""
        space = next(one for one in self.workspaces.values() if one.body["name"] == workspace)
        container, prefix = assets.locate(self, space, datastore_path)
        for name in names:
            self.azurite.container(container).delete_blob(prefix.rstrip("/") + "/" + name)

    @property
    def secrets(self) -> list[str]:
        """What must not be seen anywhere."""
        from urllib.parse import quote

        signatures = [form for one in self.azurite.signatures for form in (one, quote(one, safe=""))]
        return [*self.tokens, self.client_secret, self.azurite.key, *signatures]


def available() -> str:
    """Return why the stand-in cannot run here, or an empty text."""
    from .blobs import find_azurite
    from .swagger import FOLDER

    if not shutil.which("node"):
        return "node is not installed, which Azurite needs"
    if not FOLDER.is_dir():
        return f"Microsoft's schemas are not beside the project: {FOLDER}"
    if not find_azurite():
        return "Azurite is not installed (npm install azurite; MB_AZURITE names the folder that holds node_modules)"
    if sys.platform == "win32":
        return "the stand-in executes jobs with bash"
    return ""
