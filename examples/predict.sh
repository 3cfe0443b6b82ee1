#!/bin/sh
# Ask the spam model: KEY=... ./predict.sh "text of a message"
curl -sS "${PENSTOCK_URL:-http://localhost:8080}/v1/models/spam/predict" \
  -H "API-Key: $KEY" -F "text=$1"
