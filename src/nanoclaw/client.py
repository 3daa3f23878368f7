"""Talking to a running host over its control socket."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import httpx

from nanoclaw.config import Home
from nanoclaw.errors import HostError, NanoclawError, NotFoundError, UsageError

_ANSWER_SECONDS: Final = 30.0  # beyond what the request itself asks the host to wait

_CLASSES: Final[Mapping[int, type[NanoclawError]]] = {404: NotFoundError, 400: UsageError}


class NoHostError(HostError):
    """Nobody listens on the control socket."""


class Client:
    """One request at a time. Every method raises `NoHostError` when no host runs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(home.control_socket)),
            base_url="http://nanoclaw",
            trust_env=False,
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, patience: float = 0.0, **query: str | int) -> dict[str, Any]:
        """GET; `patience` is how many seconds the host is asked to take at most."""
        return await self._ask("GET", path, patience, params=query)

    async def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """POST a JSON object."""
        return await self._ask("POST", path, 0.0, json=body)

    async def _ask(self, method: str, path: str, patience: float, **request: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            response = await self._http.request(method, path, timeout=patience + _ANSWER_SECONDS, **request)
        except httpx.TransportError as error:
            raise self._nobody() from error
        if response.is_error:
            raise _refusal(response)
        return response.json()

    async def stream(self, path: str, **query: str | int) -> AsyncGenerator[dict[str, Any]]:
        """The JSON objects of a stream, until the host ends it."""
        try:
            async with self._http.stream("GET", path, params=query, timeout=httpx.Timeout(5.0, read=60.0)) as response:
                if response.is_error:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    if line:
                        yield json.loads(line)
        except httpx.TransportError as error:
            raise self._nobody() from error

    def _nobody(self) -> NoHostError:
        return NoHostError(f"no host is running on {self._home.root}", "start one with `nanoclaw up` or `nanoclaw run`")


def _refusal(response: httpx.Response) -> NanoclawError:
    try:
        body = response.json()
    except ValueError:
        return HostError(f"the host answered {response.status_code}", "its log says more")
    return _CLASSES.get(response.status_code, HostError)(body["error"], body["hint"])
