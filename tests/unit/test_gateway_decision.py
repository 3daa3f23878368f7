"""What becomes of a request, decided without any I/O."""

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nanoclaw.gateway.decision import Decision, Forward, Refuse, Route, Tunnel, decide, passed_back
from nanoclaw.gateway.policy import Policy, nothing
from nanoclaw.hosts import Rules, parse_pattern
from nanoclaw.model import Folder

CODEX = Route(
    provider="codex",
    base_url="https://api.openai.com/v1",
    headers={"authorization": "Bearer sk-real-and-secret"},
    chatgpt_base_url=None,
)
LOGIN = Route(
    provider="codex",
    base_url="https://chatgpt.com/backend-api/codex",
    headers={},
    chatgpt_base_url="https://chatgpt.com/backend-api",
)
CLAUDE = Route(
    provider="claude",
    base_url="http://localhost:8080/team/",
    headers={"x-api-key": "sk-ant-real"},
    chatgpt_base_url=None,
)
FAMILY = Folder("family")
OPEN = Policy(folder=FAMILY, mode="open")
LISTED = Policy(folder=FAMILY, mode="allowlist", allowed=Rules.allowing([parse_pattern("example.com:8443")]))
READABLE = {b"accept-encoding": b"identity"}
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"upgrade"}


def request(line: str, *headers: str) -> h11.Request:
    """The request as our own parser reads it off the wire."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data("\r\n".join((f"{line} HTTP/1.1", "Host: sandbox", *headers, "", "")).encode("latin-1"))
    event = parser.next_event()
    assert isinstance(event, h11.Request)
    return event


def forwarded(decision: Decision) -> Forward:
    assert isinstance(decision, Forward), decision
    return decision


def refused(decision: Decision) -> Refuse:
    assert isinstance(decision, Refuse), decision
    return decision


def judged(head: h11.Request, route: Route) -> Decision:
    """Under a policy that leaves it to the rest of the decision."""
    return decide(head, route, OPEN)


@pytest.mark.parametrize(
    ("route", "target", "server", "sent"),
    [
        (CODEX, "/openai/responses", ("api.openai.com", 443, True), b"/v1/responses"),
        (CODEX, "/openai/models?a=1&b=%2F", ("api.openai.com", 443, True), b"/v1/models?a=1&b=%2F"),
        (CODEX, "/openai", ("api.openai.com", 443, True), b"/v1"),
        (LOGIN, "/openai/responses", ("chatgpt.com", 443, True), b"/backend-api/codex/responses"),
        (LOGIN, "/chatgpt/wham/accounts/check", ("chatgpt.com", 443, True), b"/backend-api/wham/accounts/check"),
        (CLAUDE, "/anthropic/v1/messages?beta=true", ("localhost", 8080, False), b"/team/v1/messages?beta=true"),
        (CODEX, "/openai/x?u=http://127.0.0.1:3128/", ("api.openai.com", 443, True), b"/v1/x?u=http://127.0.0.1:3128/"),
        (CLAUDE, "http://127.0.0.1:3128/anthropic/v1/x", ("localhost", 8080, False), b"/team/v1/x"),
        (CLAUDE, "HTTP://LOCALHOST:3128/anthropic/v1/x", ("localhost", 8080, False), b"/team/v1/x"),
    ],
)
def test_a_request_for_the_groups_provider_goes_to_its_base_url(
    route: Route, target: str, server: tuple[str, int, bool], sent: bytes
):
    forward = forwarded(judged(request(f"POST {target}"), route))
    assert (forward.host, forward.port, forward.tls) == server
    assert forward.head.target == sent
    assert forward.reach == "provider"


@pytest.mark.parametrize(
    ("route", "target"),
    [
        (CODEX, "/anthropic/v1/messages"),
        (CODEX, "/chatgpt/wham"),
        (CLAUDE, "/openai/responses"),
        (CLAUDE, "/"),
        (CLAUDE, "//anthropic/v1/messages"),
        (CLAUDE, "/Anthropic/v1/messages"),
    ],
)
def test_another_provider_is_not_there(route: Route, target: str):
    assert refused(judged(request(f"POST {target}"), route)).status == 404


def test_the_clients_own_credentials_are_replaced_by_the_real_one():
    head = request(
        "POST /openai/responses",
        "Authorization: Bearer placeholder",
        "AUTHORIZATION: Bearer again",
        "x-api-key: placeholder",
        "ChatGPT-Account-ID: somebody",
        "openai-beta: responses=1",
    )
    assert dict(forwarded(judged(head, CODEX)).head.headers) == {
        b"host": b"api.openai.com",
        b"openai-beta": b"responses=1",
        b"authorization": b"Bearer sk-real-and-secret",
        b"accept-encoding": b"identity",
    }


def test_the_clients_own_login_passes_when_there_is_nothing_to_add():
    head = request("POST /openai/responses", "Authorization: Bearer jwt", "chatgpt-account-id: acc")
    sent = dict(forwarded(judged(head, LOGIN)).head.headers)
    assert sent == {b"host": b"chatgpt.com", b"authorization": b"Bearer jwt", b"chatgpt-account-id": b"acc", **READABLE}


def test_a_page_on_the_public_network_gets_no_credential():
    forward = forwarded(judged(request("GET http://Example.com/a?b=1", "Cookie: a=b"), CODEX))
    assert (forward.host, forward.port, forward.tls, forward.reach) == ("example.com", 80, False, "open")
    assert forward.head.target == b"/a?b=1"
    assert dict(forward.head.headers) == {b"host": b"Example.com", b"cookie": b"a=b"}


def test_a_page_without_a_path_is_its_root():
    assert forwarded(judged(request("GET http://example.com?q=1"), CODEX)).head.target == b"/?q=1"


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_headers_for_this_hop_end_here_and_the_framing_does_not(framing: str):
    head = request(
        "POST /openai/responses",
        framing,
        "Connection: x-mine, content-length, transfer-encoding, host, keep-alive",
        "X-Mine: 1",
        "Keep-Alive: 5",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Trailer: Authorization",
        "Upgrade: h2c",
        "Expect: 100-continue",
    )
    sent = dict(forwarded(judged(head, CODEX)).head.headers)
    name, _, value = framing.lower().partition(": ")
    assert sent == {
        b"host": b"api.openai.com",
        name.encode(): value.encode(),
        b"authorization": b"Bearer sk-real-and-secret",
        b"accept-encoding": b"identity",
    }


def test_a_request_that_states_its_length_twice_is_refused():
    head = request("POST /openai/responses", "Content-Length: 5", "Transfer-Encoding: chunked")
    assert refused(judged(head, CODEX)).status == 400


@pytest.mark.parametrize("rest", ["../admin", "a/../../admin", "a/%2e%2e/b", "a/.%2E/b", "./a", "..%2fadmin", r"..\x"])
def test_a_path_cannot_climb_out_of_the_base_url(rest: str):
    assert refused(judged(request(f"POST /anthropic/{rest}"), CLAUDE)).status == 400


def test_dots_in_a_query_and_in_names_are_harmless():
    assert isinstance(judged(request("GET /anthropic/v1/a..b/...?x=/../"), CLAUDE), Forward)


def test_a_method_that_would_send_the_credential_back_is_refused():
    assert refused(judged(request("TRACE /openai/responses"), CODEX)).status == 405


def test_a_web_socket_is_refused_so_that_the_client_falls_back():
    head = request("GET /openai/responses", "Connection: Upgrade", "Upgrade: WebSocket")
    assert refused(judged(head, LOGIN)).status == 426


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("example.com:443", "example.com", 443),
        ("EXAMPLE.com.:80", "example.com", 80),
        ("8.8.8.8:443", "8.8.8.8", 443),
        ("[2606:4700::1111]:443", "2606:4700::1111", 443),
    ],
)
def test_connect_asks_for_a_tunnel(target: str, host: str, port: int):
    assert judged(request(f"CONNECT {target}"), CODEX) == Tunnel(host=host, port=port, reach="open")


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT example.com:443",
        "CONNECT www.example.com:8443",
        "CONNECT 93.184.216.34:8443",
        "GET http://example.com/",
        "GET http://evilexample.com:8443/",
        "GET http://example.com.evil.org:8443/",
    ],
)
def test_a_host_that_is_not_on_the_list_is_refused_by_name_with_the_command_that_allows_it(line: str):
    refuse = refused(decide(request(line), CODEX, LISTED))
    assert (refuse.status, refuse.reason) == (403, "policy")
    assert f"{refuse.host} is not on this group's list" in refuse.sentence.replace(f":{refuse.port} is", " is")
    assert "nanoclaw network allow family " in refuse.sentence


def test_a_listed_host_is_reached_at_its_port_however_it_is_spelled():
    assert decide(request("CONNECT Example.COM.:8443"), CODEX, LISTED) == Tunnel(
        host="example.com", port=8443, reach="listed"
    )
    assert forwarded(decide(request("GET http://EXAMPLE.com:8443/x"), CODEX, LISTED)).reach == "listed"


def test_the_provider_is_reached_whatever_the_policy():
    assert forwarded(decide(request("POST /openai/responses"), CODEX, nothing(FAMILY))).reach == "provider"
    assert refused(decide(request("CONNECT api.openai.com:443"), CODEX, nothing(FAMILY))).reason == "policy"


@pytest.mark.parametrize("target", ["example.com:22", "example.com:8443", "127.0.0.1:3128", "[::1]:1"])
def test_other_ports_are_closed(target: str):
    assert refused(judged(request(f"CONNECT {target}"), CODEX)).status == 403


@pytest.mark.parametrize(
    "target",
    [
        "example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:000443",
        "example.com:+443",
        ":443",
        ".:443",
        "-a.com:443",
        "a..b:443",
        "a:b:443",
        "[::1:443",
        "[fe80::1%25eth0]:443",
        "[1.2.3.4]:443",
        "user@example.com:443",
        "exa%6dple.com:443",
        "http://example.com:443",
        "/openai/responses",
        f"{'a.' * 200}com:443",
    ],
)
def test_connect_to_what_is_no_host_and_port_is_refused(target: str):
    assert refused(judged(request(f"CONNECT {target}"), CODEX)).status == 400


@pytest.mark.parametrize("header", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_connect_with_a_body_is_refused(header: str):
    assert refused(judged(request("CONNECT example.com:443", header), CODEX)).status == 400


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "https://example.com/",
        "ftp://example.com/",
        "example.com/",
        "http://",
        "http:///path",
        "http://user:password@example.com/",
        "http://[::1/",
        "http://example.com/#fragment",
        "/openai/responses#fragment",
    ],
)
def test_anything_else_is_refused_with_a_sentence(target: str):
    refuse = refused(judged(request(f"GET {target}"), CODEX))
    assert 400 <= refuse.status < 500
    assert " " in refuse.sentence


def test_an_answers_headers_for_this_hop_end_here():
    response = h11.Response(
        status_code=200,
        headers=[
            ("Content-Type", "text/event-stream"),
            ("Connection", "close, x-hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "7"),
            ("Set-Cookie", "a=b"),
            ("Set-Cookie", "c=d"),
        ],
    )
    assert passed_back(response) == [
        (b"content-type", b"text/event-stream"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
    ]


def test_a_route_does_not_show_its_secret():
    assert "sk-real-and-secret" not in repr(CODEX)
    assert "sk-real-and-secret" not in repr(judged(request("GET /openai/models"), CODEX))


TARGETS = st.one_of(
    st.from_regex(rb"\A[\x21-\x7e]{1,60}\Z"),
    st.builds(
        b"".join,
        st.lists(
            st.sampled_from(
                b"http:// https:// 127.0.0.1 :3128 :443 :8443 /openai/ / .. %2e @ [ ] ::1 ? # \\ localhost"
                b" example.com : % * user".split()
            ),
            min_size=1,
            max_size=8,
        ),
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from(
                [b"Connection", b"Upgrade", b"Authorization", b"X-Api-Key", b"TE", b"Host", b"Chatgpt-Account-Id"]
            ),
            st.from_regex(rb"\A[A-Za-z0-9_-]{1,12}\Z"),
        ),
        st.one_of(
            st.sampled_from([b"websocket", b"authorization", b"host, content-length", b"close"]),
            st.from_regex(rb"\A[\x21-\x7e\x80-\xff]{0,20}\Z"),
        ),
    ),
    max_size=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from([b"GET", b"POST", b"CONNECT", b"TRACE", b"X"]),
    target=TARGETS,
    headers=HEADERS,
    route=st.sampled_from([CODEX, LOGIN, CLAUDE]),
    policy=st.sampled_from([OPEN, LISTED, nothing(FAMILY)]),
)
@example(method=b"GET", target=b"http://127.0.0.1:3128/openai/x", headers=[], route=CODEX, policy=LISTED)
@example(method=b"CONNECT", target=b"EXAMPLE.com.:8443", headers=[], route=CODEX, policy=LISTED)
def test_whatever_is_asked_leads_only_where_the_group_may_go(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], route: Route, policy: Policy
):
    parser = h11.Connection(h11.SERVER)
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: a", *(name + b": " + value for name, value in headers)]
    parser.receive_data(b"\r\n".join([*lines, b"", b""]))
    try:
        head = parser.next_event()
    except h11.RemoteProtocolError:
        return
    assert isinstance(head, h11.Request)
    decision = decide(head, route, policy)
    if isinstance(decision, Tunnel | Forward) and decision.reach != "provider":
        assert policy.reach(decision.host, decision.port) == decision.reach
        assert policy.mode == "open" or (decision.host, decision.port) == ("example.com", 8443)
    if isinstance(decision, Tunnel):
        assert method == b"CONNECT"
    elif isinstance(decision, Refuse):
        assert 400 <= decision.status < 500
        decision.sentence.encode("ascii")
    elif decision.reach != "provider":
        assert not decision.tls
        assert b"sk-" not in b"".join(value for _, value in decision.head.headers)
    else:
        names = [name for name, _ in decision.head.headers]
        assert decision.head.target.startswith(b"/")
        assert f"//{decision.host}" in f"{route.base_url} {route.chatgpt_base_url}"
        assert HOP_BY_HOP.isdisjoint(names)
        assert names.count(b"host") == 1
        for name, value in route.headers.items():
            assert [sent for key, sent in decision.head.headers if key == name.encode()] == [value.encode()]
