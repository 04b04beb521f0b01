"""Sessions of a running service, made without the client."""

import httpx2

JSON = {"content-type": "application/json"}


def new_session(url: str) -> str:
    answer = httpx2.post(f"{url}/v1/sessions", content=b'{"optimizer": "sgd"}', headers=JSON)
    return str(answer.json()["id"])
