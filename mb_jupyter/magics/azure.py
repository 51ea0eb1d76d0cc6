"""What there is in Azure: list it, make it, choose it, remove it. Nothing is made or deleted without a yes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import magics_class
from IPython.core.magic_arguments import argument

from mb_jupyter.display import counted
from mb_jupyter.errors import AzureError, WorkspaceError
from mb_jupyter.naming import clean, in_azure

from .asking import LOCAL, AskingCommands
from .command import command

if TYPE_CHECKING:
    from mb_jupyter.cloud import Account, AzureWorkspace, Chosen, Compute, Connection

YES = argument("-y", "--yes", action="store_true", help="answer yes to every question")
PLACE = (
    argument("--sign-in", metavar="HOW", help="cli, environment, managed or device"),
    argument("--tenant", metavar="ID", help="the tenant to sign in to"),
    argument("-s", "--subscription", metavar="ID", help="id or name of the subscription"),
    argument("-g", "--resource-group", metavar="GROUP", help="the resource group of the workspace"),
)
SHAPE = (
    argument("--size", help="size of a node, such as Standard_NC4as_T4_v3; %%mb_compute sizes lists them"),
    argument("--priority", choices=("low-priority", "dedicated"), help="low-priority is cheaper, may be interrupted"),
    argument("--nodes", type=int, help="at most so many nodes; default: 1"),
    argument("--min-nodes", type=int, help="so many stay up and cost money always; default: 0"),
    argument("--idle-minutes", type=float, help="a node that has been idle for so long goes; default: 5"),
)


@magics_class
class AzureMagics(AskingCommands):
    """The commands about places to train in."""

    @command(
        argument("what", nargs="?", default="show", choices=("list", "show", "use", "create", "delete", "cleanup")),
        argument("name", nargs="?", help="the workspace; `local` means this machine's"),
        *PLACE,
        argument("-r", "--region", help="where a new workspace is made; choose one close to you or your customers"),
        argument("--purge", action="store_true", help="delete for good, so that the name is free at once"),
        argument("--delete", action="store_true", help="with cleanup: delete what it lists, asking for each"),
        YES,
        panel="environment",
    )
    def mb_workspace(self, args: Any) -> Any:
        """List, show, choose, make and delete workspaces; `cleanup` lists all that was made in Azure.

        Without anything the panel's step Environment opens.
        """
        place = self.place(args)
        here = args.name == LOCAL or (args.name is None and not place.sign_in)
        if args.what in ("list", "show") and here:
            from mb_jupyter.workspace import Workspace

            return Workspace.local()
        return {
            "list": self._workspaces,
            "show": self._workspace,
            "use": self._use_workspace,
            "create": self._create_workspace,
            "delete": self._delete_workspace,
            "cleanup": self._cleanup,
        }[args.what](args, place)

    @command(
        argument(
            "what", nargs="?", default="list", choices=("list", "show", "use", "create", "recreate", "delete", "sizes")
        ),
        argument("name", nargs="?", help="the compute; default: the chosen one"),
        *SHAPE,
        argument("--all", action="store_true", help="with sizes: those without a GPU too"),
        YES,
        panel="environment",
    )
    def mb_compute(self, args: Any) -> Any:
        """List, show, choose, make, mend and delete the computes of the chosen workspace, or list the sizes.

        Without anything the panel's step Environment opens.
        """
        from mb_jupyter import cloud

        place = cloud.chosen()
        if args.what == "sizes" and not place.complete:
            return cloud.sizes()
        connection = self.connect(place)
        if args.what == "sizes":
            return self.telling("asking for the sizes", lambda say: cloud.sizes(connection, every=args.all))
        if args.what == "list":
            return self.telling("listing the computes", lambda say: cloud.computes(connection))
        name = args.name or place.compute
        if not name:
            raise UsageError(f"%mb_compute {args.what} needs the name of a compute.")
        return getattr(self, f"_{args.what}_compute")(args, name, connection)

    @command(
        argument("what", nargs="?", default="list", choices=("list", "show", "use", "create", "delete")),
        argument("name", nargs="?", help="the experiment; default of show: the latest run's"),
        YES,
    )
    def mb_experiment(self, args: Any) -> Any:
        """List the experiments, or show one with its runs: those kept here and those of the chosen workspace.

        An experiment is registered when its name is used for the first time; `create` does so without a training.
        `use` makes it the one that trainings without a name join, in this kernel. `delete` deletes the runs kept here.
        """
        from mb_jupyter import cloud
        from mb_jupyter.history import attach
        from mb_jupyter.workspace import Workspace

        place = cloud.chosen()
        if args.what in ("use", "create", "delete"):
            if not args.name:
                raise UsageError(f"%mb_experiment {args.what} needs the name of an experiment.")
            return getattr(self, f"_{args.what}_experiment")(args, place)
        if args.what == "list" and not place.complete:
            return Workspace.local()
        name = args.name if args.name or args.what == "list" else attach().experiment
        if not place.complete:
            return self._local_experiment(name)
        connection = self.connect(place)
        if args.what == "list":
            return self.telling("listing the experiments", lambda say: cloud.experiments(connection))
        return self.telling(f"looking at {name}", lambda say: cloud.experiment(name, connection))

    def _use_experiment(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter.workspace import Workspace

        Workspace.local().check(args.name)
        assert self.shell is not None
        self.shell.magics_manager.registry["MBMagics"].experiment = args.name
        return self.sentence(f"In this kernel, a training without a name joins the experiment {args.name}.")

    def _delete_experiment(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter.history import runs
        from mb_jupyter.workspace import Workspace

        local = Workspace.local()
        if clean(args.name) not in local.experiments():
            raise WorkspaceError(
                f"There is no experiment {args.name} in {local.root.name}.", "See %mb_experiment list."
            )
        kept = runs(args.name, local)
        if going := [run.handle for run in kept if not run.state.is_terminal]:
            raise WorkspaceError(f"{going[0]} goes on.", f"End it first: %mb_stop {going[0]} or %mb_cancel {going[0]}.")
        there = counted(len(kept), "run")
        self.agreed(args, f"Delete the experiment {args.name} with {there} kept here, models and reports included?")
        local.delete(args.name)
        elsewhere = f" In the workspace {place.workspace} it stays as it is." if place.complete else ""
        return self.sentence(f"The experiment {args.name} is deleted, with {there}.{elsewhere}")

    def _create_experiment(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        name = args.name
        connection = self.connect(place) if place.complete else None
        work = functools.partial(cloud.register_experiment, name, connection)
        _ = work() if connection is None else self.telling(f"registering {name}", lambda say: work())
        there = in_azure(name)
        called = f" (in Azure: {there})" if connection is not None and there != clean(name) else ""
        return self.sentence(f"The experiment {name}{called} is registered: %mb_train {name} trains in it.")

    def _local_experiment(self, name: str) -> Any:
        from mb_jupyter.experiment import Experiment
        from mb_jupyter.history import attach

        return Experiment.local(attach(name).experiment)

    # -- workspaces ----------------------------------------------------------------------------------------

    def _workspaces(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        account = self.account(place)
        if not place.subscription:
            return self.telling("listing the subscriptions", lambda say: cloud.subscriptions(account))
        group = args.resource_group or ""
        return self.telling("listing", lambda say: cloud.workspaces(account, place.subscription, group))

    def _workspace(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        connection = self.connect(place)
        account = self.account(place)
        return self.telling("opening the workspace", lambda say: cloud.WorkspaceView.of(account, connection, place))

    def _use_workspace(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        if args.name == LOCAL:
            cloud.forget()
            return self.sentence("Runs are kept on this machine; no Azure workspace is chosen any more.")
        account = self.account(place)
        place = place.over(tenant=args.tenant or account.tenant)
        if not place.workspace and not place.subscription:
            cloud.choose(sign_in=place.sign_in, tenant=place.tenant)
            return self.telling("listing the subscriptions", lambda say: cloud.subscriptions(account))
        place = self.telling("looking for the workspace", lambda say: cloud.locate(account, place))
        cloud.choose(**{key: value for key, value in vars(place).items() if value})
        return self._workspace(args, place)

    def _create_workspace(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        wanted = self._wanted(args, place, self.account(place))
        cloud.require(wanted.findings(), f"The workspace {wanted.name}")
        self.agreed(
            args,
            f"Make the workspace {wanted.name} in {wanted.resource_group} ({wanted.region}), with a storage account, a "
            "key vault and logs, and the resource group if it is not there? It costs little until it is used.",
        )
        made = self.telling(f"making the workspace {wanted.name}", wanted.create)
        place = cloud.choose(
            sign_in=place.sign_in, tenant=wanted.connection.place.tenant, subscription=made.subscription,
            resource_group=made.resource_group, workspace=made.name, region=made.region,
        )  # fmt: skip
        return self._workspace(args, place)

    def _delete_workspace(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        if not args.name:
            raise UsageError("%mb_workspace delete needs the name of the workspace.")
        account = self.account(place)
        try:
            place = self.telling("looking for the workspace", lambda say: cloud.locate(account, place))
        except AzureError as error:
            if not args.purge or error.code != cloud.ABSENT:  # one that was deleted is in no list
                raise
        wanted = self._wanted(args, place, account)
        kept = "for good" if args.purge else f"; its name stays taken for {cloud.DELETED_DAYS} days"
        self.agreed(args, f"Delete the workspace {wanted.name} with its storage, keys, logs, computes and runs {kept}?")
        self.telling(f"deleting {wanted.name}", lambda say: wanted.delete(say, purge=args.purge))
        if cloud.chosen().workspace.casefold() == wanted.name.casefold():
            cloud.choose(workspace="")
        return self.sentence(f"The workspace {wanted.name} is deleted {kept.lstrip('; ')}.")

    def _wanted(self, args: Any, place: Chosen, account: Account) -> AzureWorkspace:
        from mb_jupyter import cloud

        if not args.name:
            raise UsageError(f"%mb_workspace {args.what} needs the name of a workspace.")
        group, region = place.resource_group or f"{args.name}-group", args.region or place.region
        return cloud.AzureWorkspace(args.name, group, self._subscription(place, account), region, account)

    def _subscription(self, place: Chosen, account: Account) -> str:
        from mb_jupyter import cloud

        return cloud.aside(lambda: cloud.subscription_of(account, place.subscription))

    def _cleanup(self, args: Any, place: Chosen) -> Any:
        from mb_jupyter import cloud

        account = self.account(place)
        subscription = self._subscription(place, account)
        found = self.telling("looking for what was made", lambda say: cloud.leftovers(account, subscription))
        if not args.delete or not len(found):
            return found
        self.display(found)
        chosen = [each for each in found if args.yes or self.answered(f"Delete the {each.kind} {each.name}? [y/N] ")]
        said = self.telling("deleting", lambda say: cloud.remove(chosen, subscription, purge=args.purge, progress=say))
        return self.sentence(" ".join(said) or "Nothing was deleted.")

    # -- computes ------------------------------------------------------------------------------------------

    def _show_compute(self, args: Any, name: str, connection: Connection) -> Any:
        from mb_jupyter import cloud

        return self.telling(f"looking at {name}", lambda say: cloud.ComputeView.of(name, connection))

    def _use_compute(self, args: Any, name: str, connection: Connection) -> Any:
        from mb_jupyter import cloud

        facts = self.telling(f"looking at {name}", lambda say: cloud.require_ready(connection, name))
        cloud.choose(compute=facts.name)
        return cloud.ComputeView(facts, connection.place.workspace)

    def _create_compute(self, args: Any, name: str, connection: Connection) -> Any:
        from mb_jupyter import cloud

        wanted = self._shaped(args, cloud.Compute(name, connection=connection))
        cloud.require(wanted.findings(), f"The compute {name}")
        self.agreed(args, f"Make the compute {name}? {_costs(wanted)}")
        facts = self.telling(f"making the compute {name}", wanted.create)
        cloud.choose(compute=facts.name)
        return cloud.ComputeView(facts, connection.place.workspace)

    def _recreate_compute(self, args: Any, name: str, connection: Connection) -> Any:
        from mb_jupyter import cloud

        there = self.telling(f"looking at {name}", lambda say: cloud.Compute.existing(name, connection))
        wanted = self._shaped(args, there)
        self.agreed(args, f"Delete the compute {name} and make it anew? What runs on it is lost. {_costs(wanted)}")
        facts = self.telling(f"making the compute {name} anew", wanted.recreate)
        if not cloud.chosen().compute:  # its creation had failed
            cloud.choose(compute=facts.name)
        return cloud.ComputeView(facts, connection.place.workspace)

    def _delete_compute(self, args: Any, name: str, connection: Connection) -> Any:
        from mb_jupyter import cloud

        self.agreed(args, f"Delete the compute {name}? What runs on it is lost.")
        self.telling(f"deleting {name}", cloud.Compute(name, connection=connection).delete)
        if cloud.chosen().compute.casefold() == name.casefold():
            cloud.choose(compute="")
        return self.sentence(f"The compute {name} is deleted.")

    def _shaped(self, args: Any, compute: Compute) -> Compute:
        from dataclasses import replace

        given = {
            "size": args.size,
            "priority": args.priority,
            "max_nodes": args.nodes,
            "min_nodes": args.min_nodes,
            "idle_minutes": args.idle_minutes,
        }
        return replace(compute, **{key: value for key, value in given.items() if value is not None})


def _costs(compute: Compute) -> str:
    stay = (
        f"{compute.min_nodes} nodes stay up and cost money always" if compute.min_nodes else "it costs while it works"
    )
    return f"{compute.size}, {compute.priority}, at most {compute.max_nodes} nodes; {stay}."
