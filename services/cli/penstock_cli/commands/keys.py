"""``penstock keys``: API keys in this machine's installation, in another database, or in a cluster's Secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_cli.cluster_keys import ClusterKeys
from penstock_cli.settings import LocalSettings
from penstock_cli.terminal import AsJson, console, errors_for_the_user, print_table
from penstock_gateway.auth.key_record import public

if TYPE_CHECKING:
    from penstock_gateway.auth.key_admin import KeyAdmin

app = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="PENSTOCK_GATEWAY_KEYS_URL",
        help="Where the keys are: a SQLite file or postgresql://...; without it, this machine's installation.",
    ),
]
OnKubernetes = Annotated[
    bool, typer.Option("--kubernetes", help="Use the keys in the Secret of an installation in a cluster.")
]
InNamespace = Annotated[str, typer.Option(help="With --kubernetes: the installation's namespace.")]
SecretName = Annotated[str, typer.Option(help="With --kubernetes: the Secret with the keys' hashes.")]
_SECRET = "penstock-keys"  # noqa: S105 (a name)


@app.command(epilog="Example: penstock keys create --name ci --rate 50")
def create(
    name: Annotated[str, typer.Option(help="Who will use it.")],
    rate: Annotated[float | None, typer.Option(help="Rows per second; without it, the gateway's default.")] = None,
    burst: Annotated[float | None, typer.Option(help="Rows at once; without it, the gateway's default.")] = None,
    store: Store = "",
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = _SECRET,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it. It is shown only once, because only its hash is kept."""
    with errors_for_the_user() as settings:
        keys = ClusterKeys(namespace, secret) if kubernetes else _key_admin(settings, store)
        record, key = keys.create(name, rate, burst)
        print(json.dumps({**public(record), "key": key}) if as_json else key)


@app.command("list", epilog="Example: penstock keys list --json")
def list_keys(
    store: Store = "",
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = _SECRET,
    as_json: AsJson = False,
) -> None:
    """List the keys, without their secrets."""
    with errors_for_the_user() as settings:
        keys = ClusterKeys(namespace, secret) if kubernetes else _key_admin(settings, store)
        rows = [public(record) for record in keys.records()]
        if as_json:
            print(json.dumps(rows))
        else:
            print_table("keys", rows)


@app.command(epilog="Example: penstock keys revoke 0123456789ab")
def revoke(
    id: Annotated[str, typer.Argument(help="The key's id, its second part.")],
    store: Store = "",
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = _SECRET,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; gateways refuse it within seconds."""
    with errors_for_the_user() as settings:
        keys = ClusterKeys(namespace, secret) if kubernetes else _key_admin(settings, store)
        keys.revoke(id)
        if as_json:
            print(json.dumps({"id": id, "revoked": True}))
        else:
            console.print(f"revoked {id}", highlight=False)


def _key_admin(settings: LocalSettings, store: str) -> KeyAdmin:
    # Imports SQLAlchemy, which takes a quarter of a second.
    from penstock_gateway.auth.key_admin import KeyAdmin

    return KeyAdmin(store or str(settings.keys_db))
