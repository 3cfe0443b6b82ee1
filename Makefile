# Everything a newcomer, a developer and CI do. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVICES := common gateway inference registry training cli
STAMP := $(VENV)/.installed
PROJECTS := $(foreach s,$(SERVICES),services/$(s)/pyproject.toml)
VERSION_FILE := services/common/penstock_common/version.py
VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' $(VERSION_FILE))

.PHONY: help install up down status test lint types proto proto-check envoy-check bench images release chart-docs version e2e loadtest clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP) ## virtual environment with all that is needed

$(STAMP): constraints.txt requirements-dev.txt $(VERSION_FILE) $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; choose one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first and by itself: unpinned, its dependents would pull gigabytes of another build.
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt $(foreach s,$(SERVICES),-e services/$(s))
	@touch $@

up: install ## train, register and start everything; prints the calls
	@$(BIN)/penstock up

down: ## stop everything
	@if test -x $(BIN)/penstock; then $(BIN)/penstock down; fi

status: install ## which parts run
	@$(BIN)/penstock status

test: install ## all tests
	$(BIN)/python -m pytest -q

lint: install ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## mypy --strict
	$(BIN)/mypy $(foreach s,$(SERVICES),services/$(s)/penstock_$(s))

proto: install ## generate the gRPC code from the contract
	cd services/common && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. \
	  penstock_common/contract/inference.proto

proto-check: proto ## fail where the committed gRPC code is not what the contract says
	git diff --exit-code -- services/common/penstock_common/contract

envoy-check: install ## Envoy itself reads the configuration
	$(BIN)/envoy --mode validate --log-level warning -c deploy/envoy/envoy.yaml

bench: install ## the whole path beside FastAPI, raw ASGI and TorchServe (needs wrk, and java for TorchServe): BENCH='--rounds 5'
	$(BIN)/python -m benchmarks.end_to_end $(BENCH)

IMAGES := registry gateway inference training loadtest
TAG ?= $(shell git rev-parse --short HEAD)
REPOSITORY ?= ghcr.io/penstock
# The first that works: a docker without its engine is no builder.
BUILDER ?= $(firstword $(foreach b,docker podman buildah,$(shell $(b) info >/dev/null 2>&1 && echo $(b))))

images: ## container images: TAG=..., REPOSITORY=..., BUILDER=docker|podman|buildah, BUILD_ARGS='--build-arg TORCH_INDEX_URL=...'
	@test -n "$(BUILDER)" || { echo "docker, podman or buildah is needed to build images"; exit 1; }
	@for s in $(IMAGES); do \
	  $(BUILDER) build -t $(REPOSITORY)/$$s:$(TAG) --target $$s \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_ARGS) . || exit 1; \
	done

release: install ## wheels, images, chart, SBOM and checksums of the committed version, in dist/
	$(BIN)/python deploy/release.py --builder "$(BUILDER)" --repository "$(REPOSITORY)"

chart-docs: install ## README table and schema of the chart, and the kustomize base
	@command -v helm >/dev/null || { echo "helm is needed to render the chart"; exit 1; }
	$(BIN)/python deploy/helm/chart_docs.py
	deploy/k8s/render.sh > deploy/k8s/base/penstock.yaml

version: ## write the version of penstock_common/version.py into the chart and the manifests
	sed -i -E 's/^version: .*/version: $(VERSION)/; s/^appVersion: .*/appVersion: "$(VERSION)"/' deploy/helm/penstock/Chart.yaml
	find deploy/k8s -type f -name '*.yaml' -exec sed -i -E \
	  -e 's#(ghcr.io/penstock/[a-z]+(:|, newTag: ))[^ }]+#\1$(VERSION)#' \
	  -e 's#(app.kubernetes.io/version: )"[^"]*"#\1"$(VERSION)"#' {} +

e2e: install ## tests on the cluster that KUBECONFIG names: TAG=... of the images, NEXT_TAG=... of another build
	TAG=$(TAG) $(BIN)/python -m pytest -q tests/e2e --timeout 900

loadtest: install ## Locust against URL with KEY: SHAPE=ramp|spike|soak, REPORT=folder
	cd loadtest && URL=$(URL) KEY=$(KEY) SHAPE=$(or $(SHAPE),ramp) ../$(BIN)/locust -f locustfile.py --headless --only-summary \
	  --html $(or $(REPORT),/tmp)/penstock-load.html

clean: down ## remove the virtual environment and the installation's state
	rm -rf $(VENV) .penstock .penstock-bench
