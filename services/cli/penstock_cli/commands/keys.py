"""``penstock keys``: API keys in this machine's installation, in another database, or in a cluster's Secret."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from penstock_cli.key_expiry import expiry
from penstock_cli.key_stores import open_key_store
from penstock_cli.terminal import AsJson, console, errors_for_the_user, print_table
from penstock_gateway.auth.key_record import public

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


@app.command(epilog="Example: penstock keys create --name ci --rate 50 --models 'price-*,!price-beta' --expires-in 90d")
def create(
    name: Annotated[str, typer.Option(help="Who will use it.")],
    rate: Annotated[float | None, typer.Option(help="Rows per second; without it, the gateway's default.")] = None,
    burst: Annotated[float | None, typer.Option(help="Rows at once; without it, the gateway's default.")] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Globs of the models that it may ask, with commas; !glob excludes. Without it: every model."),
    ] = None,
    expires_in: Annotated[str | None, typer.Option(help="Refuse it from then on: 30m, 12h, 90d, 52w.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="The same as a time: 2030-01-31T00:00:00Z.")] = None,
    store: Store = "",
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = _SECRET,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it. It is shown only once, because only its hash is kept."""
    with errors_for_the_user() as settings:
        keys = open_key_store(settings.keys_db, store, kubernetes, namespace, secret)
        globs = None if models is None else [glob.strip() for glob in models.split(",")]
        record, key = keys.create(name, rate, burst, globs, expiry(expires_in, expires_at))
        print(json.dumps({**public(record), "key": key}) if as_json else key)


@app.command("list", epilog="Example: penstock keys list --json")
def list_keys(
    store: Store = "",
    kubernetes: OnKubernetes = False,
    namespace: InNamespace = "penstock",
    secret: SecretName = _SECRET,
    as_json: AsJson = False,
) -> None:
    """List the keys, without their secrets. A Secret does not keep when a key was last used."""
    with errors_for_the_user() as settings:
        keys = open_key_store(settings.keys_db, store, kubernetes, namespace, secret)
        rows = [public(record) for record in keys.records()]
        if not keys.keeps_last_use:
            for row in rows:
                del row["last_used"]
        if as_json:
            print(json.dumps(rows))
        else:
            print_table("keys", [row | {"models": ",".join(row["models"] or ["*"])} for row in rows])


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
        keys = open_key_store(settings.keys_db, store, kubernetes, namespace, secret)
        keys.revoke(id)
        if as_json:
            print(json.dumps({"id": id, "revoked": True}))
        else:
            console.print(f"revoked {id}", highlight=False)
