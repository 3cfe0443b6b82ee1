"""``penstock kserve``: models of the registry as KServe InferenceServices."""

from __future__ import annotations

import json
from typing import Annotated

import typer
import yaml

from penstock_cli.kserve_client import KServe
from penstock_cli.kserve_objects import pool_values, service_name
from penstock_cli.terminal import AsJson, ModelName, console, errors_for_the_user, print_table
from penstock_common.registry_models import PRODUCTION

app = typer.Typer(no_args_is_help=True, help="Models as KServe InferenceServices, in a cluster.")

ServiceNamespace = Annotated[
    str, typer.Option("--namespace", "-n", help="The namespace of the chart's release, whose registry is used.")
]


@app.command(epilog="Example: penstock kserve deploy spam --namespace penstock --replicas 2")
def deploy(
    model: ModelName,
    alias: Annotated[str, typer.Option(help="Pods are ready once the version of this alias is loaded.")] = PRODUCTION,
    namespace: ServiceNamespace = "penstock",
    replicas: Annotated[int, typer.Option(min=1, help="Number of pods.")] = 1,
    image: Annotated[str | None, typer.Option(help="The inference image, instead of the runtime's.")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait until it is ready; 0 does not wait.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Serve a model of the registry with KServe, or change how; print the chart values that route requests to it."""
    with errors_for_the_user():
        kserve = KServe(namespace)
        kserve.deploy(model, alias, replicas, image)
        ready = bool(timeout) and kserve.wait(model, timeout)["ready"]
        values = pool_values(model, namespace)
        if as_json:
            print(json.dumps({"name": service_name(model), "ready": ready, "values": values}))
            return
        console.print(
            f"{service_name(model)} is {'ready' if ready else 'deployed'}; values of the chart that route to it:"
        )
        console.print(yaml.safe_dump(values, sort_keys=False), highlight=False, markup=False, soft_wrap=True, end="")


@app.command(epilog="Example: penstock kserve status --namespace penstock --json")
def status(namespace: ServiceNamespace = "penstock", as_json: AsJson = False) -> None:
    """Show Penstock's InferenceServices of a namespace; exit with status 3 if one is not ready."""
    with errors_for_the_user():
        rows = KServe(namespace).rows()
        if as_json:
            print(json.dumps(rows))
        else:
            print_table("inference services", rows)
        if not all(row["ready"] for row in rows):
            raise typer.Exit(3)


@app.command(epilog="Example: penstock kserve delete spam --namespace penstock")
def delete(model: ModelName, namespace: ServiceNamespace = "penstock") -> None:
    """Delete a model's InferenceService; the registry keeps the model."""
    with errors_for_the_user():
        KServe(namespace).delete(model)
        console.print(f"deleted {service_name(model)}")
