"""``penstock remote``: models of other servers in this installation's catalogue, and fallbacks to them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from penstock_cli.remote_check import check_server, embedding_width
from penstock_cli.settings import LocalSettings
from penstock_cli.terminal import AsJson, console, errors_for_the_user, print_table
from penstock_common.errors import PenstockError
from penstock_common.manifest import is_name
from penstock_common.remotes import Fallback, Remote, RemoteList, dump_remotes, read_credential, read_remotes

app = typer.Typer(no_args_is_help=True, help="Models of other servers that speak OpenAI's API (docs/remotes.md).")

ListFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        envvar="PENSTOCK_GATEWAY_REMOTES_FILE",
        help="The list of remotes; without it, that of this machine's installation.",
    ),
]


@app.command(
    epilog="Example: penstock remote add gpt --url https://api.example.com/v1 --model gpt-5-mini --key-file gpt.key"
)
def add(
    name: Annotated[str, typer.Argument(help="What the model is called here.")],
    url: Annotated[str, typer.Option(help="The server up to its routes, such as http://ollama:11434/v1.")],
    model: Annotated[str, typer.Option(help="What the server calls the model.")],
    key_file: Annotated[Path | None, typer.Option(help="File with the server's credential; it is never shown.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="The authority of its certificate, if it is not public.")] = None,
    route: Annotated[
        list[str] | None, typer.Option(help="What it is asked: chat, completions or embeddings; chat without it.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Numbers of an embedding; without it, the server is asked.")] = None,
    limit: Annotated[
        str, typer.Option(help="What the server calls a chat's limit: max_tokens or max_completion_tokens.")
    ] = "max_tokens",
    images: Annotated[bool, typer.Option("--images", help="The messages of a chat may have pictures.")] = False,
    description: Annotated[str, typer.Option(help="For the documentation.")] = "",
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not ask the server first.")] = False,
    file: ListFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a model of another server, or change it; the gateway has it within seconds."""
    with errors_for_the_user() as settings:
        path, listed = _read(settings, file)
        if not is_name(name):
            text = f"{name!r} is not a model's name: use lower-case letters, digits, dots, dashes and underscores."
            raise PenstockError(400, "bad-name", text)
        routes = route or ["chat"]
        files = {"key_file": _absolute(key_file), "ca_file": _absolute(ca_file)}
        if key_file is not None:
            read_credential(key_file)
        if "embeddings" in routes and width is None:
            width = embedding_width(url, model, **files)
        values = {"url": url, "model": model, "routes": routes, "width": width, "limit": limit} | files
        try:
            remote = msgspec.convert(values | {"images": images, "description": description}, Remote)
        except msgspec.ValidationError as err:
            raise PenstockError(400, "bad-remote", f"{err}.") from None
        if not no_check:
            check_server(remote)
        _write(path, {**listed.remotes, name: remote}, listed.fallbacks)
        if as_json:
            print(json.dumps({"name": name, "remote": msgspec.to_builtins(remote)}))
        else:
            console.print(f"{name} is {model} of {url}", highlight=False)


@app.command("list", epilog="Example: penstock remote list --json")
def list_remotes(file: ListFile = None, as_json: AsJson = False) -> None:
    """List the remotes and the models that fall back to them; credentials are not shown, only where they are."""
    with errors_for_the_user() as settings:
        _, listed = _read(settings, file)
        if as_json:
            print(msgspec.json.encode(listed).decode())
            return
        rows = [
            {"remote": name, "url": remote.url, "model": remote.model, "routes": ", ".join(remote.routes)}
            | {"credential": remote.key_file or "none", "for": _users(listed, name)}
            for name, remote in sorted(listed.remotes.items())
        ]
        print_table("remotes", rows)


@app.command(epilog="Example: penstock remote remove gpt")
def remove(name: Annotated[str, typer.Argument(help="The remote.")], file: ListFile = None) -> None:
    """Take a remote out of the list; answers under way end undisturbed."""
    with errors_for_the_user() as settings:
        path, listed = _read(settings, file)
        if name not in listed.remotes:
            raise PenstockError(404, "unknown-remote", f"There is no remote {name!r}; {_known(listed)}.")
        if users := _users(listed, name):
            text = f"{users} falls back to {name!r}; first: penstock remote fallback {users.split(',')[0]} --off"
            raise PenstockError(409, "remote-in-use", text)
        _write(path, {n: remote for n, remote in listed.remotes.items() if n != name}, listed.fallbacks)
        console.print(f"{name} is removed", highlight=False)


@app.command(epilog="Example: penstock remote fallback chat --to gpt --wait-seconds 2 --tokens-per-day 200000")
def fallback(
    model: Annotated[str, typer.Argument(help="A model of this installation.")],
    to: Annotated[list[str] | None, typer.Option(help="The remotes that stand in for it, in order.")] = None,
    in_flight: Annotated[
        int | None, typer.Option(help="Rows under way in a gateway beyond which a remote is asked first.")
    ] = None,
    wait_seconds: Annotated[
        float | None, typer.Option(help="Seconds without a beginning after which a remote is asked.")
    ] = None,
    requests_per_day: Annotated[int | None, typer.Option(help="Budget of requests to remotes.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Budget of tokens that remotes read and write.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Let no remote stand in for it any more.")] = False,
    file: ListFile = None,
) -> None:
    """Let remotes stand in for a model whenever no pod can answer, and under the load that the options say."""
    with errors_for_the_user() as settings:
        path, listed = _read(settings, file)
        fallbacks = {name: given for name, given in listed.fallbacks.items() if name != model}
        if not off:
            values: dict[str, Any] = {
                "to": to or [],
                "in_flight": in_flight,
                "wait_seconds": wait_seconds,
                "requests_per_day": requests_per_day,
                "tokens_per_day": tokens_per_day,
            }
            try:
                fallbacks[model] = msgspec.convert(values, Fallback)
            except msgspec.ValidationError as err:
                raise PenstockError(400, "bad-fallback", f"{err}; name the remotes with --to.") from None
        _write(path, listed.remotes, fallbacks)
        console.print(f"{model}: " + ("no fallback" if off else ", ".join(to or [])), highlight=False)


def _read(settings: LocalSettings, file: Path | None) -> tuple[Path, RemoteList]:
    path = file or settings.remotes_file
    return path, read_remotes(path)


def _write(path: Path, remotes: dict[str, Remote], fallbacks: dict[str, Fallback]) -> None:
    """Replace the list as a whole, so that a gateway never reads half of it.

    Raises:
        PenstockError: 422 ``bad-remotes`` if a gateway would refuse it.
    """
    try:
        text = dump_remotes(RemoteList(remotes, fallbacks))
    except ValueError as err:
        raise PenstockError(422, "bad-remotes", f"{err}.") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text)
    try:
        read_remotes(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.absolute())


def _users(listed: RemoteList, remote: str) -> str:
    """The models that fall back to a remote."""
    return ", ".join(model for model, fallback in sorted(listed.fallbacks.items()) if remote in fallback.to)


def _known(listed: RemoteList) -> str:
    return f"remotes here: {', '.join(listed.remotes) or 'none yet'}"
