"""``penstock up``, ``down`` and ``status``: a whole installation on this machine."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock_cli import plan
from penstock_cli.front import front
from penstock_cli.local_certificate import ensure_certificate
from penstock_cli.part_state import PartState
from penstock_cli.processes import Processes, port_holder, uninterrupted
from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError
from penstock_common.registry_models import PRODUCTION

EXAMPLES = ("spam", "digits", "price")
_PATIENCE = 120.0


class LocalInstallation:
    """One local installation."""

    def __init__(self, settings: LocalSettings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._processes = Processes(settings.home, settings.log_bytes)
        self._started: list[str] = []

    def up(self, workers: int, *, tls: bool = False) -> None:
        """Start what is not running, train the examples that the registry lacks, and return when everything answers.

        If it fails or is interrupted, it stops what it has started.

        Args:
            tls: also a front that terminates TLS, with a certificate of its own. An installation that has one keeps it.

        Raises:
            PenstockError: 400 ``home-too-long``; 409 ``port-taken``; 503 ``did-not-start``.
        """
        home = self._settings.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings.create_registry_tokens()
        self._settings.sockets.mkdir(exist_ok=True)
        self._settings.sockets.chmod(0o700)
        parts = [plan.registry(self._settings)]
        parts += [plan.worker(self._settings, i) for i in range(workers)]
        parts += [plan.envoy(self._settings, workers), plan.gateway(self._settings)]
        if tls or "front" in self._processes.names():
            ensure_certificate(self._settings.certificates, datetime.datetime.now(datetime.UTC))
            parts.append(front(self._settings))
        self._check_ports(parts)
        columns = (
            SpinnerColumn(finished_text="[green]ok[/green]"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        try:
            with Progress(*columns, console=self._console) as bar:

                def step(text: str, work: Callable[[], object]) -> None:
                    task = bar.add_task(text, total=1)
                    work()
                    bar.update(task, completed=1)

                step("registry", lambda: self._start(parts[0]))
                missing = self._untrained()
                if missing:
                    step(f"train and register {', '.join(missing)}", lambda: self._train(missing))
                step("first key", self._first_key)
                for part in parts[1:]:
                    step(part.name, lambda part=part: self._start(part))  # type: ignore[misc]
                step("models answer", self._wait_for_models)
                in_rotation = lambda: plan.workers_in_rotation(self._settings) >= workers  # noqa: E731
                step(f"{workers} in rotation", lambda: self._wait("envoy", in_rotation))
        except BaseException:
            self._processes.stop(self._started)
            raise

    def _check_ports(self, parts: list[plan.Part]) -> None:
        for part in parts:
            if self._processes.find(part.name) is not None:
                continue
            for variable, port in part.ports.items():
                holder = port_holder(port)
                if holder is not None:
                    raise PenstockError(
                        409,
                        "port-taken",
                        f"Port {port}, which {part.name} needs, is taken by {holder}; "
                        f"stop it, or choose another port with {variable}.",
                    )

    def _start(self, part: plan.Part) -> None:
        if self._processes.find(part.name) is None:
            self._started.append(part.name)
            self._processes.start(part.name, part.command, part.environment)
        self._wait(part.name, part.ready)

    def _wait(self, name: str, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` is met; fail as soon as the part ends, whether or not it is started again."""
        give_up = time.monotonic() + _PATIENCE
        restarts = self._processes.state(name).restarts
        while not condition():
            ended = self._processes.find(name) is None or self._processes.state(name).restarts > restarts
            if ended or time.monotonic() > give_up:
                raise PenstockError(
                    503,
                    "did-not-start",
                    f"{name} did not become ready. The end of {self._processes.log_path(name)}:\n{self._processes.tail(name)}",
                )
            time.sleep(0.05)

    def _untrained(self) -> list[str]:
        headers = {"Authorization": f"Bearer {self._settings.secret('registry-tokens/read')}"}
        models = httpx.get(f"{self._settings.registry_url}/v1/models", headers=headers, timeout=10).json()
        served = {model["name"] for model in models if PRODUCTION in model["aliases"]}
        return [name for name in EXAMPLES if name not in served]

    def _train(self, names: list[str]) -> None:
        (self._settings.home / "logs").mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "PENSTOCK_REGISTRY_URL": self._settings.registry_url,
            "PENSTOCK_REGISTRY_TOKEN_FILE": str(self._settings.registry_token_file("train")),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "penstock_training"]
        running = {}
        try:
            for name in names:
                with self._processes.log_path(f"train-{name}").open("wb") as log, uninterrupted():
                    running[name] = subprocess.Popen([*command, name], env=environment, stdout=log, stderr=log)  # noqa: S603
            for name, process in running.items():
                if process.wait():
                    raise PenstockError(
                        503, "training-failed", f"Training {name} failed:\n{self._processes.tail(f'train-{name}')}"
                    )
        finally:
            for process in running.values():
                process.kill()
                process.wait()

    def _first_key(self) -> None:
        if not self._settings.secret("key"):
            from penstock_gateway.auth.key_admin import KeyAdmin  # slow to import, and needed only once

            _, key = KeyAdmin(str(self._settings.keys_db)).create("first")
            self._settings.write_secret("key", key)

    def _wait_for_models(self) -> None:
        headers = {"API-Key": self._settings.secret("key")}

        def ready() -> bool:
            try:
                answer = httpx.get(f"{self._settings.gateway_url}/v1/models", headers=headers, timeout=5)
            except httpx.HTTPError:
                return False
            return answer.status_code == 200 and {m["id"] for m in answer.json()["data"] if m["ready"]} >= set(EXAMPLES)

        self._wait("gateway", ready)

    def down(self) -> list[str]:
        """Stop everything, beginning where calls come in; return the names of the parts that were running."""
        names = self._processes.names()
        stopped = []
        for prefix in ("front", "gateway", "envoy", "worker", "registry"):
            stopped += self._processes.stop([name for name in names if name.startswith(prefix)])
        return stopped

    def status(self) -> list[dict[str, object]]:
        """Return a row for each part; ``log`` has the last lines of a part that does not run."""
        rows: list[dict[str, object]] = []
        for name in self._processes.names():
            state = self._processes.state(name)
            rows.append(
                {
                    "part": name,
                    "running": state.pid is not None,
                    "pid": state.pid,
                    "restarts": state.restarts,
                    "last_exit": self._last_exit(name, state),
                    "log": "" if state.pid is not None else self._processes.tail(name),
                }
            )
        return rows

    def _last_exit(self, name: str, state: PartState) -> str:
        if state.gave_up:
            return f"{state.last_exit}; it kept ending and was given up"
        if self._processes.find(name) is None:
            return "its supervisor was killed, and the part with it"
        return state.last_exit
