"""What every endpoint refuses by its shape: method, media type, length, and a body that does not come."""
from asking import STATUSES, authority, beside, host, refused, test
from host import CMS

PATHS = sorted({path for path, _ in STATUSES})
# What is posted: path, media type, other headers, most bytes.
NEGOTIATE = ("Authorization", "Negotiate YQ==")
POSTED = [
    ("/api/gossip/sync", CMS, [], 4 << 20),
    ("/api/gossip/membership", "application/octet-stream", [], 1200),
    ("/api/gossip/register-kem", "application/json", [NEGOTIATE], 16 << 10),
    ("/api/mesh/join", "application/json", [], 32 << 10),
    ("/api/mesh/join", CMS, [], 64 << 10),
]


@test
def nothing_else_is_there():
    for path in ("/", "/api/admin/status", "/api/gossip", "/api/gossip/sync/", "/metrics"):
        refused(authority.get(path), 404, "not_found")
    assert len(PATHS) == 10, PATHS


@test
def every_path_has_one_method():
    posted = {path for path, *_ in POSTED}
    for path in PATHS:
        right, wrong = ("POST", "GET") if path in posted else ("GET", "POST")
        for method in (wrong, "DELETE", "OPTIONS"):
            answer = authority.request(method, path, key=host.signing)
            refused(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == right, (path, answer.headers)


@test
def every_body_has_its_media_type():
    for path, _, headers, _ in POSTED:
        for media in ([], [("Content-Type", "text/plain")]):
            answer = authority.request("POST", path, b"{}", headers + media, key=host.signing)
            refused(answer, 415, "unsupported_media_type")


@test
def what_is_too_large_is_refused_by_its_length_or_once_it_is_exceeded():
    for path, media, headers, most in POSTED:
        headers = headers + [("Content-Type", media)]
        # Refused though not a byte has come.
        answer = authority.request("POST", path, b"", headers, announced=most + 1, key=host.signing)
        refused(answer, 413, "too_large")
        answer = authority.request("POST", path, bytes(most + 1), headers, announced="chunked", key=host.signing)
        refused(answer, 413, "too_large")
        # What just fits is read, and is nothing.
        if most < 1 << 20:
            answer = authority.request("POST", path, b"!" * most, headers, key=host.signing)
            assert answer.status in (200, 204, 400), (path, answer.status)


@beside
def a_body_that_does_not_come_is_not_waited_for_and_holds_up_two_exchanges_of_its_host_alone():
    slow = authority.joined("seventh.mesh.test")
    waiting = []
    for path, media, headers, _ in POSTED:
        for _ in range(2 if path == "/api/gossip/sync" else 1):
            connection = slow.connect()
            connection.send("POST", path, b"", headers + [("Content-Type", media)], announced=100)
            waiting.append(connection)
    # Both of its turns are taken, and nobody else's.
    refused(slow.post(slow.envelope(), waiting_for_turns(slow)), 503, "unavailable")
    for connection in waiting:
        refused(connection.answer(), 408, "timeout")
    assert slow.post(slow.envelope()).status == 200


def waiting_for_turns(slow):
    """A connection, once the bodies that do not come are waited for: the server saw their heads before."""
    connection = slow.connect()
    assert connection.request("GET", "/api/gossip/digest").status == 200
    return connection
