"""Posts an event that is signed as Standard Webhooks say; needs the standard library alone.

export ORDERS_SECRET=whsec_$(openssl rand -base64 32)
scheduler up examples/webhook/jobs.yaml
cd examples/webhook
python post_webhook.py http://localhost:8080/hooks/default/orders '{"id": 7, "amount": 9, "country": "JP"}'
"""

import base64
import hashlib
import hmac
import os
import sys
import time
import urllib.request
import uuid


def post(url: str, body: bytes, secret: str, delivery: str) -> str:
    """Post ``body`` and return the answer. One that is sent again keeps its ``delivery``, so it counts once."""
    stamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return f"{answer.status} {answer.read().decode()}"


if __name__ == "__main__":
    sent_as = sys.argv[3] if len(sys.argv) > 3 else f"msg_{uuid.uuid4().hex}"
    print(post(sys.argv[1], sys.argv[2].encode(), os.environ["ORDERS_SECRET"], sent_as))
