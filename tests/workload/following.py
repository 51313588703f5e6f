"""PyPI's spiffe: contexts across a rotation and a revocation, and tokens. Usage: following.py RUN"""
import queue
import subprocess
import sys

from spiffe import JwtSource, SpiffeId, TrustDomain, WorkloadApiClient, X509Source

run = sys.argv[1]


def admin(path, body):
    url = f"http://localhost/api/admin/{path}"
    subprocess.run(["curl", "-sf", "-o", "/dev/null", "--unix-socket", f"{run}/admin.sock", "--data", body, url], check=True)


def serials(context):
    return [svid.leaf.serial_number for svid in context.x509_svids]


with WorkloadApiClient() as client:
    svids = [str(svid.spiffe_id) for svid in client.fetch_x509_svids()]
    assert svids == ["spiffe://example.org/svc/inside", "spiffe://example.org/svc/outside"], svids
    assert client.fetch_x509_bundles().get_bundle_for_trust_domain(TrustDomain("example.org")) is not None

    updates, errors = queue.Queue(), queue.Queue()
    handle = client.stream_x509_contexts(updates.put, errors.put)
    first = serials(updates.get(timeout=20))
    admin("rotate", '{"identity":"inside"}')
    second = serials(updates.get(timeout=20))
    assert first[0] != second[0] and first[1] == second[1], (first, second)
    admin("revoke", '{"identity":"outside"}')
    third = serials(updates.get(timeout=20))
    while third[1] == second[1]:
        third = serials(updates.get(timeout=20))
    assert third[0] == second[0]
    handle.cancel()
    assert errors.empty(), errors.get()

    tokens = client.fetch_jwt_svids({"db"})
    assert [str(token.spiffe_id) for token in tokens] == svids, tokens
    assert client.validate_jwt_svid(tokens[1].token, "db").spiffe_id == SpiffeId(svids[1])
    try:
        client.validate_jwt_svid(tokens[1].token, "other")
        raise SystemExit("a token for another is accepted")
    except Exception as error:
        assert "audience" in str(error), error

with X509Source() as source:
    assert source.svid.spiffe_id == SpiffeId(svids[0])
with JwtSource() as source:
    token = source.fetch_svid({"db"})
    bundle = source.get_bundle_for_trust_domain(TrustDomain("example.org"))
    assert token.spiffe_id == SpiffeId(svids[0]) and bundle is not None
