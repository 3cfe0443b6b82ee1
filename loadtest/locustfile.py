"""Locust users of a Penstock installation.

    URL=http://localhost:8080 KEY=psk_... SHAPE=ramp locust -f locustfile.py --headless --html report.html

``KEYS`` (comma-separated) are the keys of more tenants; ``LIMITED_KEY`` belongs to one that exceeds its limit and
expects correct 429s. ``SHAPE`` is ramp, spike or soak; see shapes.py. thresholds.py decides the exit code. If
``NAMESPACE`` is set, pods.py watches the installation's pods during the run.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pods  # noqa: F401 (registers its listeners)
import shapes
import thresholds  # noqa: F401 (registers its listeners)
from locust import FastHttpUser, between, task

URL = os.environ.get("URL", "http://localhost:8080")
KEYS = [key for key in (os.environ.get("KEY", ""), *os.environ.get("KEYS", "").split(",")) if key]
LIMITED_KEY = os.environ.get("LIMITED_KEY", "")
TEXTS = [
    "WINNER!! Claim your free prize now",
    "see you at six, bring the umbrella",
    "Your account has been credited, reply YES to confirm",
    "can you send me the notes from today?",
]
IMAGE = Path(__file__).parents[1] / "examples" / "seven.png"

Shape = shapes.chosen(os.environ.get("SHAPE", "ramp"))


class Tenant(FastHttpUser):
    """One of the installation's tenants; every answer must be a prediction."""

    abstract = True
    host = URL
    wait_time = between(0.1, 0.4)

    def on_start(self) -> None:
        self.key = random.choice(KEYS)

    def ask(self, name: str, path: str, **request: object) -> None:
        with self.client.post(path, headers={"API-Key": self.key}, name=name, catch_response=True, **request) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} {(answer.text or '')[:200]}")
            elif not answer.headers.get("X-Model-Version"):
                answer.failure("the answer names no model version")


class SinglePredictions(Tenant):
    weight = 6

    @task
    def predict(self) -> None:
        self.ask("one row", "/v1/models/spam/predict", json={"text": random.choice(TEXTS)})


class Rows(Tenant):
    weight = 2

    @task
    def predict(self) -> None:
        self.ask("32 rows", "/v1/models/spam/predict", json=[{"text": random.choice(TEXTS)} for _ in range(32)])


if os.environ.get("IMAGES", "true") == "true":

    class Images(Tenant):
        weight = 1
        content = IMAGE.read_bytes()

        @task
        def predict(self) -> None:
            with self.client.post(
                "/v1/models/digits/predict",
                data=self.content,
                headers={"API-Key": self.key, "Content-Type": "image/png"},
                name="image",
                catch_response=True,
            ) as answer:
                if answer.status_code != 200:
                    answer.failure(f"{answer.status_code} {(answer.text or '')[:200]}")
                elif answer.json()["prediction"] != "7":
                    answer.failure(f"a seven was read as {answer.json()['prediction']}")


if LIMITED_KEY:

    class Exceeder(FastHttpUser):
        """Exceeds its limit: each answer is a prediction, or a 429 that says when to try again."""

        host = URL
        fixed_count = 1
        wait_time = between(0.0, 0.02)

        @task
        def predict(self) -> None:
            with self.client.post(
                "/v1/models/spam/predict",
                json={"text": TEXTS[0]},
                headers={"API-Key": LIMITED_KEY},
                name="beyond the limit",
                catch_response=True,
            ) as answer:
                if answer.status_code == 200:
                    return
                correct = (
                    answer.status_code == 429
                    and int(answer.headers.get("Retry-After", "0")) >= 1
                    and answer.json()["code"] == "rate-limited"
                    and "RateLimit" in answer.headers
                )
                if correct:
                    answer.success()
                else:
                    answer.failure(f"not a correct refusal: {answer.status_code} {(answer.text or '')[:200]}")
