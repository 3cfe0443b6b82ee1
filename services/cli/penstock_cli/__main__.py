"""``penstock``: the command line of a local installation."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import msgspec
import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock_cli.cluster_keys import ClusterKeys
from penstock_cli.kserve import Services, pool_values, service_name
from penstock_cli.local import Local, run_keys
from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError
from penstock_common.keys import public
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model
from penstock_common.settings import load_settings

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Your own AI service, on this machine.", rich_markup_mode="rich")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")
app.add_typer(keys_app, name="keys")
kserve_app = typer.Typer(no_args_is_help=True, help="Models as KServe InferenceServices, in a cluster.")
app.add_typer(kserve_app, name="kserve")

console = Console()
errors = Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ModelName = Annotated[str, typer.Argument(help="The model's name.")]


@contextmanager
def explained() -> Iterator[LocalSettings]:
    """Errors for the user end in one sentence and status 1."""
    try:
        yield load_settings(LocalSettings)
    except PenstockError as err:
        errors.print(f"[red]error:[/red] {escape(err.detail)}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("interrupted; what was started has been stopped")
        raise typer.Exit(130) from None


def registry_access(settings: LocalSettings) -> tuple[str, str]:
    """URL and token of the registry: the environment's, or else those of this machine's installation."""
    token = os.environ.get("PENSTOCK_REGISTRY_TOKEN") or settings.secret("registry-token")
    return os.environ.get("PENSTOCK_REGISTRY_URL", settings.registry_url), token


def registry(settings: LocalSettings, call: Callable[[RegistryClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with RegistryClient(*registry_access(settings)) as client:
            return await call(client)

    return asyncio.run(run())


@app.command(epilog="Example: penstock up --workers 3")
def up(workers: Annotated[int, typer.Option(min=1, max=16, help="Inference processes.")] = 2) -> None:
    """Start everything on this machine and print the calls; what runs already stays."""
    with explained() as settings:
        Local(settings, console).up(workers)
        key, url = settings.secret("key"), settings.gateway_url
        console.print(
            f"\n[bold]Penstock answers at {url}[/bold] (documentation: {url}/docs)\n", highlight=False, soft_wrap=True
        )
        for line in (
            f"export KEY={key}",
            f"""curl -s {url}/v1/models/spam/predict -H "API-Key: $KEY" -d '{{"text": "WINNER!! Claim your free prize now"}}'""",
            f'curl -s {url}/v1/models/digits/predict -H "Authorization: Bearer $KEY" -F image=@examples/seven.png',
        ):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command(epilog="Example: penstock down")
def down() -> None:
    """Stop everything; state, logs and keys stay in the home folder."""
    with explained() as settings:
        stopped = Local(settings, console).down()
        console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command(epilog="Example: penstock status --json")
def status(as_json: AsJson = False) -> None:
    """Which parts run."""
    with explained() as settings:
        rows = Local(settings, console).status()
        if as_json:
            print(json.dumps(rows))
        else:
            show("parts", rows)
        if not rows or not all(row["running"] for row in rows):
            raise typer.Exit(3)


@app.command(
    epilog="Example: penstock train spam --data messages.tsv",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context, name: Annotated[str, typer.Argument(help="spam, digits or price.")]) -> None:
    """Train an example and register it; options go on to the training (--data, --seed, --format, --json)."""
    with explained() as settings:
        url, os.environ["PENSTOCK_REGISTRY_TOKEN"] = registry_access(settings)
        command = [sys.executable, "-m", "penstock_training", name, "--registry-url", url]
        sys.stdout.flush()
        os.execv(sys.executable, [*command, *context.args])  # noqa: S606 (our own command)


@app.command(epilog="Example: penstock push spam build/spam")
def push(
    model: ModelName,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Holds model.yaml and its files.")],
    why: Annotated[str, typer.Option(help="Goes into the log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Register a folder as a new version."""
    with explained() as settings:
        version = registry(settings, lambda c: c.publish(model, folder, metrics={}, lineage={}, by=getuser(), why=why))
        if as_json:
            print(json.dumps({"model": model, "version": version.version}))
        else:
            console.print(
                f"{model} version {version.version} is registered; penstock promote {model} {version.version}"
            )


@app.command(epilog="Example: penstock models")
def models(as_json: AsJson = False) -> None:
    """The registry's models, their aliases and versions."""
    with explained() as settings:
        found = registry(settings, lambda c: c.models())
        if as_json:
            print(msgspec.json.encode(found).decode())
            return
        rows = [
            {
                "model": model.name,
                "aliases": ", ".join(f"{alias} -> {_targets(model, alias)}" for alias in sorted(model.aliases)),
                "versions": len(model.versions),
            }
            for model in found
        ]
        show("models", rows)


@app.command(epilog="Example: penstock promote spam 3 --weight 10")
def promote(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="The version's number.")],
    alias: Annotated[str, typer.Option(help="The alias to move.")] = PRODUCTION,
    weight: Annotated[int | None, typer.Option(min=1, max=99, help="A canary: this share of 100.")] = None,
    expect: Annotated[int | None, typer.Option(help="Fail unless the alias points at this version now.")] = None,
    why: Annotated[str, typer.Option(help="Goes into the log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version, or give the version a share of its traffic."""
    with explained() as settings:

        async def move(client: RegistryClient) -> Model:
            targets = [AliasTarget(version)]
            seen = expect
            if weight is not None:
                present = (await client.model(model)).aliases.get(alias, [])
                if len(present) != 1:
                    raise PenstockError(
                        409,
                        "no-single-target",
                        f"{model}@{alias} points at {len(present)} versions; a canary needs one.",
                    )
                targets = [AliasTarget(present[0].version, 100 - weight), AliasTarget(version, weight)]
                seen = present[0].version if expect is None else expect
            return await client.set_alias(model, alias, targets, expect=seen, by=getuser(), why=why)

        _moved(registry(settings, move), alias, as_json)


@app.command(epilog="Example: penstock rollback spam")
def rollback(
    model: ModelName,
    alias: Annotated[str, typer.Option(help="The alias to move back.")] = PRODUCTION,
    as_json: AsJson = False,
) -> None:
    """Point an alias back at what it pointed at before."""
    with explained() as settings:

        async def back(client: RegistryClient) -> Model:
            history = [e.targets for e in await client.log(model) if e.kind == "alias-set" and e.alias == alias]
            current = history[-1] if history else []
            earlier = next((targets for targets in reversed(history) if targets != current), None)
            if earlier is None:
                raise PenstockError(409, "nothing-before", f"{model}@{alias} has never pointed at anything else.")
            expect = current[0].version if len(current) == 1 else None
            return await client.set_alias(model, alias, earlier, expect=expect, by=getuser(), why="rollback")

        _moved(registry(settings, back), alias, as_json)


@app.command(epilog="""Example: penstock predict spam '{"text": "You won a prize"}'""")
def predict(
    model: ModelName,
    body: Annotated[str | None, typer.Argument(help="One row or a list of rows as JSON.")] = None,
    image: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="An image file instead.")] = None,
) -> None:
    """Ask a model; prints its JSON answer."""
    with explained() as settings:
        headers = {"API-Key": os.environ.get("PENSTOCK_KEY") or settings.secret("key")}
        url = f"{os.environ.get('PENSTOCK_URL', settings.gateway_url)}/v1/models/{model}/predict"
        try:
            if image is not None:
                answer = httpx.post(url, headers=headers, files={"image": image.read_bytes()}, timeout=30)
            else:
                headers["Content-Type"] = "application/json"
                answer = httpx.post(url, headers=headers, content=(body or sys.stdin.read()).encode(), timeout=30)
        except httpx.HTTPError as err:
            raise PenstockError(503, "unreachable", f"{url}: {err}; start it with penstock up.") from None
        if answer.is_error:
            raise PenstockError(answer.status_code, "refused", answer.json().get("detail", answer.text))
        print(answer.text)


OnKubernetes = Annotated[
    bool, typer.Option("--kubernetes", help="The keys of an installation in a cluster, not of this machine.")
]
InNamespace = Annotated[str, typer.Option(help="With --kubernetes: the installation's namespace.")]
SecretName = Annotated[str, typer.Option(help="With --kubernetes: the Secret with the keys' hashes.")]


@keys_app.command("create", epilog="Example: penstock keys create --name ci --rate 50")
def keys_create(
    name: Annotated[str, typer.Option(help="Who will use it.")],
    rate: Annotated[float | None, typer.Option(help="Requests a second.")] = None,
    burst: Annotated[float | None, typer.Option(help="Requests at once.")] = None,
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = "penstock-keys",  # noqa: S107 (a name)
    as_json: AsJson = False,
) -> None:
    """Make a key; it is shown this once, and kept only as a hash."""
    options = ["--name", name]
    options += [] if rate is None else ["--rate", str(rate)]
    options += [] if burst is None else ["--burst", str(burst)]
    with explained() as settings:
        if kubernetes:
            record, key = ClusterKeys(namespace, secret).create(name, rate, burst)
            created: dict[str, Any] = {**public(record), "key": key}
        else:
            created = run_keys(settings, "create", *options)
        print(json.dumps(created) if as_json else created["key"])


@keys_app.command("list", epilog="Example: penstock keys list --json")
def keys_list(
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = "penstock-keys",  # noqa: S107 (a name)
    as_json: AsJson = False,
) -> None:
    """The keys, without their secrets."""
    with explained() as settings:
        found: Any
        if kubernetes:
            found = [public(record) for record in ClusterKeys(namespace, secret).records()]
        else:
            found = run_keys(settings, "list")
        if as_json:
            print(json.dumps(found))
        else:
            show("keys", found)


@keys_app.command("revoke", epilog="Example: penstock keys revoke 0123456789ab")
def keys_revoke(
    id: Annotated[str, typer.Argument(help="The key's id, its second part.")],
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = "penstock-keys",  # noqa: S107 (a name)
) -> None:
    """Refuse a key from now on; gateways notice within seconds."""
    with explained() as settings:
        if kubernetes:
            ClusterKeys(namespace, secret).revoke(id)
        else:
            run_keys(settings, "revoke", "--id", id)
        console.print(f"revoked {id}")


ServiceNamespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Where the chart's release is: its registry is used.")
]


@kserve_app.command("deploy", epilog="Example: penstock kserve deploy spam --namespace penstock --replicas 2")
def kserve_deploy(
    model: ModelName,
    alias: Annotated[str, typer.Option(help="The pods are ready once this alias's version is loaded.")] = PRODUCTION,
    namespace: ServiceNamespace = "penstock",
    replicas: Annotated[int, typer.Option(min=1, help="Pods.")] = 1,
    image: Annotated[str | None, typer.Option(help="The inference image, instead of the runtime's.")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait until it is ready; 0 does not wait.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Serve a model of the registry by KServe, or change how; prints the chart's values that route requests there."""
    with explained():
        services = Services(namespace)
        services.deploy(model, alias, replicas, image)
        ready = bool(timeout) and services.wait(model, timeout)["ready"]
        values = pool_values(model, namespace)
        if as_json:
            print(json.dumps({"name": service_name(model), "ready": ready, "values": values}))
            return
        console.print(
            f"{service_name(model)} is {'ready' if ready else 'deployed'}; values of the chart that route to it:"
        )
        console.print(yaml.safe_dump(values, sort_keys=False), highlight=False, markup=False, soft_wrap=True, end="")


@kserve_app.command("status", epilog="Example: penstock kserve status --namespace penstock --json")
def kserve_status(namespace: ServiceNamespace = "penstock", as_json: AsJson = False) -> None:
    """Penstock's InferenceServices of a namespace; status 3 where one is not ready."""
    with explained():
        rows = Services(namespace).rows()
        if as_json:
            print(json.dumps(rows))
        else:
            show("inference services", rows)
        if not all(row["ready"] for row in rows):
            raise typer.Exit(3)


@kserve_app.command("delete", epilog="Example: penstock kserve delete spam --namespace penstock")
def kserve_delete(model: ModelName, namespace: ServiceNamespace = "penstock") -> None:
    """Take a model's InferenceService away; the registry keeps the model."""
    with explained():
        Services(namespace).delete(model)
        console.print(f"deleted {service_name(model)}")


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column in rows[0] if rows else ("nothing yet",):
        table.add_column(str(column))
    for row in rows:
        table.add_row(*["" if value is None else str(value) for value in row.values()])
    console.print(table)


def _targets(model: Model, alias: str) -> str:
    return " + ".join(
        str(t.version) if len(model.aliases[alias]) == 1 else f"{t.version} ({t.weight})" for t in model.aliases[alias]
    )


def _moved(model: Model, alias: str, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"model": model.name, "alias": alias, "targets": model.aliases[alias]}).decode())
    else:
        console.print(f"{model.name}@{alias} -> {_targets(model, alias)}")


if __name__ == "__main__":
    app()
