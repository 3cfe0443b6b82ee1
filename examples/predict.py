"""Ask the spam model, with the standard library alone: KEY=... python predict.py "text of a message"."""

import json
import os
import sys
import urllib.request

request = urllib.request.Request(  # noqa: S310 (the user's own address)
    os.environ.get("PENSTOCK_URL", "http://localhost:8080") + "/v1/models/spam/predict",
    data=json.dumps({"text": sys.argv[1]}).encode(),
    headers={"API-Key": os.environ["KEY"], "Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
    print(json.load(answer))
