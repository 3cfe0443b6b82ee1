"""The inference service's settings, from ``PENSTOCK_INFERENCE_*``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class InferenceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_INFERENCE_")

    host: str = "127.0.0.1"
    port: int = 9100
    #: a unix socket to listen on instead of host and port; only its owner may connect.
    socket: Path | None = None
    metrics_port: int = 9200
    registry_url: str = "http://127.0.0.1:8081"
    #: file with the registry's token for reading; it may change at any time. None for a registry that asks for none.
    registry_token_file: Path | None = None
    #: folder that keeps the fetched artifacts between starts.
    cache_dir: Path
    #: bytes of artifacts in it that are kept though no version on the pod uses them.
    cache_bytes: int = Field(default=2 * 1024**3, ge=0)
    #: comma-separated globs of the models that this pool serves; !glob excludes.
    models: str = "*"
    #: load models that run code of whoever made them: the formats python, joblib and aot-inductor.
    allow_code: bool = False
    #: threads of a run of a model whose manifest does not say; 0 for as many as the container's limit of CPUs, 1 if it
    #: has none.
    threads: int = Field(default=0, ge=0)
    #: cores that the runs of all models may use at a time; 0 for those that the container has.
    cores: int = Field(default=0, ge=0)
    #: runs of all models that may use the GPU at a time.
    gpu_runs: int = Field(default=1, ge=1)
    #: loads that may run at the same time.
    parallel_loads: int = Field(default=2, ge=1)
    #: bytes of memory that each model may take; 0 for what is available when it is loaded.
    model_memory_bytes: int = Field(default=0, ge=0)
    #: seconds without progress after which a model's process is killed; a run may also take ten times the longest so far.
    hang_seconds: float = Field(default=8.0, gt=1)
    #: seconds that the load of a model may take.
    load_seconds: float = Field(default=600.0, gt=0)
    #: rows that may wait for one model version.
    max_queue_rows: int = Field(default=4096, ge=1)
    #: bytes of inputs that may wait for one model version.
    max_queue_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    #: seconds for which a version is kept once no alias names it any more.
    retain_seconds: float = Field(default=30.0, ge=0)
    #: seconds for which a pod that shuts down reports NOT_SERVING and still answers, so that all load balancers notice.
    drain_seconds: float = Field(default=3.0, ge=0)
    #: seconds that streams, and messages under way, may take once the listener is closed; and the streams of a version
    #: that is unloaded. Messages have their own deadlines, which are mostly earlier.
    grace_seconds: float = Field(default=60.0, ge=0)
    log_level: str = "info"
