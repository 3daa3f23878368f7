"""Getting around a list of hosts: names that look like one that is on it, and one on it that leads elsewhere."""

from .attempt import Lab, attempt
from .proxy import ask, request

LISTED = "listed"
"""The phase in which the group's policy is a list, with `*.listed.test` and `only.test` on it."""


def _ask(line: str, *expected: str, headers: tuple[str, ...] = (), also: str = "") -> None:
    @attempt("list of hosts", f"{line}{also}", *(expected or ("403", "400")), phase=LISTED)
    def _(_: Lab) -> str:
        return ask(request(f"{line} HTTP/1.1", *headers))


for _host in (
    *("example.com:443", "1.1.1.1:443", "[2606:4700:4700::1111]:443", "listed.test:443", "xlisted.test:443"),
    *("listed.test.example.com:443", "www.listed.test.example.com:443", "www-listed.test:443", "only.test.:444"),
    *("x.only.test:443", "only.test.example.com:443", "only.test:22", "www.listed.test:8080", "only.test@a.com:443"),
    *("a.com#.listed.test:443", "a.com%23.listed.test:443", "a.com/.listed.test:443", "a.com?.listed.test:443"),
    *("a.com\\.listed.test:443", "a.com%00.listed.test:443", ".listed.test:443", "..listed.test:443", "*:443"),
    *("*.listed.test:443", "LISTED.TEST:443", "only.tes:443", "only.testt:443", "localhost:443", "127.0.0.1:443"),
    *("metadata.google.internal:80", "host.docker.internal:443", "gist.github.com.a.com:443", "only..test:443"),
):
    _ask(f"CONNECT {_host}")
for _url in (
    "http://example.com/",
    "http://example.com/?only.test",
    "http://only.test@example.com/",
    "http://only.tes/",
):
    _ask(f"GET {_url}")
_ask("CONNECT example.com:443", headers=("Host: only.test",), also=" with another Host")
_ask("GET http://example.com/", headers=("Host: only.test",), also=" with another Host")
_ask("GET /", "404", "400", headers=("Host: only.test",), also=" with a Host on the list")
_ask("CONNECT www.listed.test:443", "403", also=", which is on the list and leads to the host's loopback")
_ask("GET http://only.test/", "403", also=", which is on the list and leads to the local network")
_ask("CONNECT WWW.Listed.TEST.:443", "403", also=", another spelling of it")
