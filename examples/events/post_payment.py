"""Posts a payment that is signed as GitHub signs its webhooks; needs the standard library alone.

python post_payment.py http://127.0.0.1:8080/hooks/default/payments '{"amount": 12, "customer": "Ada"}'
"""

import hashlib
import hmac
import os
import sys
import urllib.request
import uuid


def post(url: str, body: bytes, secret: str, delivery: str) -> int:
    """Post ``body`` and return the status; one that is sent again keeps its ``delivery``, so it counts once."""
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return int(answer.status)


if __name__ == "__main__":
    print(post(sys.argv[1], sys.argv[2].encode(), os.environ["PAYMENTS_SECRET"], str(uuid.uuid4())))
