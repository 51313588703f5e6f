"""What every list of asks has in common: the agents that are asked, what a refusal must be, and what is left to ask for.

Standard input has the agents and files, JSON: `{"authority": {"node", "address", "socket"}, "member": …, "bundle", "keytabs"}`.
"""
import http.client
import json
import pathlib
import re
import socket
import sys
import threading
import time
import traceback

from host import Host
from transport import SEEN, Connection

WORLD = json.load(sys.stdin)
PAGE = (pathlib.Path(__file__).parents[2] / "docs/protocol/mesh.md").read_text()
CODES = PAGE.split("\n## Status codes\n")[1].split("\n## ")[0]
# What the page says: every (status, error), and every (path, status).
ERRORS = {
    (int(status), error)
    for status, errors in re.findall(r"^\| (\d{3}) \| (.*?) \|", CODES, re.M)
    for error in re.findall(r"`(\w+)`", errors)
}
STATUSES = {
    (path, int(status))
    for path, statuses in re.findall(r"^\| `(/api/\S+)` \| ([\d ]+) \|", CODES, re.M)
    for status in statuses.split()
}
# These a host says that has just started, or that is in no mesh: it does not listen then.
UNASKED = {(503, "no_mesh"), (503, "not_ready")}
GIVEN = set()
JSON = ("Content-Type", "application/json")
TESTS, THREADS, FAILED = [], [], []


def test(function):
    TESTS.append(function)
    return function


def beside(function):
    """A test that takes long, and that goes on while the others do."""

    def begin():
        thread = threading.Thread(target=run, args=[function])
        THREADS.append(thread)
        thread.start()

    begin.__name__ = function.__name__
    return test(begin)


def refused(answer, status, error=None):
    """Its body, which says what happened and what to try, by a code that the page has."""
    assert answer.status == status, (answer.status, answer.body[:300])
    body = answer.json()
    assert set(body) == {"error", "message"} and body["message"], body
    assert (status, body["error"]) in ERRORS and error in (None, body["error"]), (status, body)
    GIVEN.add((status, body["error"]))
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) > 0, answer.headers
    return body


class Agent:
    def __init__(self, node, address, socket):
        self.node, self.address, self.socket = node, address, socket

    def admin(self, method, path, body=None):
        """As an administrator, at the local socket; the body of the answer."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.socket)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (path, answer.status, content)
        return json.loads(content)

    def token(self, node, ttl=600, again=False):
        path = "/api/admin/mesh/readmit" if again else "/api/admin/mesh/invites"
        return self.admin("POST", path, {"node_id": node, "ttl_seconds": ttl})["token"]

    def joined(self, node):
        """A host that has just joined here."""
        newcomer = Host(node, self.address)
        newcomer.join(self.token(node))
        return newcomer

    def get(self, path, headers=(), **how):
        return self.request("GET", path, headers=headers, **how)

    def request(self, method, path, body=b"", headers=(), announced=None, **how):
        """Over a connection of its own, made so."""
        connection = Connection(self.address, **how)
        answer = connection.request(method, path, body, headers, announced)
        connection.close()
        return answer


def agent(name):
    return Agent(**WORLD[name]) if name in WORLD else None


authority, member = agent("authority"), agent("member")
host = Host("python.mesh.test", authority.address)


def until(what, holds, seconds=20):
    end = time.time() + seconds
    while not holds():
        assert time.time() < end, f"in {seconds} s not: {what}"
        time.sleep(0.1)


def run(function):
    try:
        function()
        print("ok", function.__name__, file=sys.stderr)
    except Exception:
        FAILED.append(function.__name__)
        print("FAILED", function.__name__, file=sys.stderr)
        traceback.print_exc()


def main(whole=False):
    """Runs all; `whole`: then every status that the page names was given, and none that it does not."""
    for function in TESTS:
        run(function)
        if function.__name__ == "joins_by_token" and FAILED:
            break
    for thread in THREADS:
        thread.join()
    if whole and not FAILED:
        given = {(path, status) for path, status in SEEN if path in {path for path, _ in STATUSES}}
        missing = (STATUSES - given) | (ERRORS - GIVEN - UNASKED)
        for what, pairs in (("not on the page", given - STATUSES), ("never given", missing)):
            if pairs:
                FAILED.append(what)
                print(what, sorted(pairs), file=sys.stderr)
    print(f"{len(TESTS)} tests, failed: {FAILED}")
    sys.exit(1 if FAILED else 0)
