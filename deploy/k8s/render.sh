#!/usr/bin/env bash
# Render the kustomize base from the chart: deploy/k8s/render.sh [HELM OPTIONS] > deploy/k8s/base/penstock.yaml
set -euo pipefail
here=$(dirname "$0")
helm template penstock "$here/../helm/penstock" --namespace penstock --kube-version 1.34.0 --skip-tests -f "$here/values.yaml" "$@" |
  grep -vE '^    (app.kubernetes.io/managed-by|helm.sh/chart): |^        (app.kubernetes.io/managed-by|helm.sh/chart): '
