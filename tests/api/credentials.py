"""Keys and tokens of every state, by name: good ones, and everything that is wrong with one."""

import json
import time
from hashlib import sha256
from types import SimpleNamespace

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from recsys.serving.online.keys import ApiKey

ISSUER, AUDIENCE = "https://issuer.example", "recsys"
SECRET = "5ec4e7" * 10 + "abcd"
SCOPES = ("read", "write", "admin")
OTHERS = "films"
"""A namespace that is there, and that only some may see."""


def issuer():
    """A key pair of each kind, one that nobody published, and the JWKS."""
    rs, es, strange = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1()), None
    strange = rsa.generate_private_key(65537, 2048)
    public = [
        json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rs.public_key())) | {"kid": "rs", "alg": "RS256"},
        json.loads(jwt.algorithms.ECAlgorithm.to_jwk(es.public_key())) | {"kid": "es", "alg": "ES256"},
    ]
    pem = rs.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return SimpleNamespace(rs=rs, es=es, strange=strange, jwks={"keys": public}, pem=pem)


def token(key, algorithm="RS256", kid="rs", **claims):
    now = time.time()
    said = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "nbf": now - 1, "sub": "secret-subject"}
    said |= {"scope": " ".join(SCOPES), "namespaces": "*"}
    said = {name: value for name, value in (said | claims).items() if value is not None}
    return {"authorization": f"Bearer {jwt.encode(said, key, algorithm, headers={'kid': kid} if kid else None)}"}


def b64(part):
    return jwt.utils.base64url_encode(part).decode()


def forged(issuer):
    """A token signed by HMAC with the public key as its secret, which PyJWT itself refuses to make."""
    head, body = (
        {"alg": "HS256", "typ": "JWT", "kid": "rs"},
        {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 600},
    )
    text = ".".join(b64(json.dumps(one).encode()) for one in (head, body | {"scope": "read", "namespaces": "*"}))
    import hmac

    return {"authorization": f"Bearer {text}.{b64(hmac.digest(issuer.pem, text.encode(), 'sha256'))}"}


def tokens(issuer):
    """Headers by state."""
    late = time.time() + 600
    return {
        "token": token(issuer.rs),
        "token of ES256": token(issuer.es, "ES256", "es"),
        "token of a list": token(issuer.rs, namespaces=["shop", OTHERS]),
        "token for others": token(issuer.rs, namespaces=[OTHERS]),
        "token without scope": token(issuer.rs, scope=""),
        "token expired": token(issuer.rs, exp=time.time() - 60),
        "token not yet": token(issuer.rs, nbf=late),
        "token without exp": token(issuer.rs, exp=None),
        "token of another issuer": token(issuer.rs, iss="https://evil.example"),
        "token for another audience": token(issuer.rs, aud="another"),
        "token of nobody's key": token(issuer.strange),
        "token of an unknown key": token(issuer.rs, kid="x"),
        "token of another algorithm": token(issuer.rs, "RS512"),
        "token of no algorithm": token(None, "none"),
        "token by the public key": forged(issuer),
        "token of odd claims": token(issuer.rs, namespaces={"shop": 1}),
        "token in pieces": {"authorization": "Bearer a.b.c"},
        "token too long": {"authorization": "Bearer " + "x" * 9000},
    }


def add_keys(store):
    """Put a key of every kind into a store; headers by state, wrong ones too."""

    def add(number, scopes=SCOPES, namespaces=("*",), *limit):
        key_id = f"{number:012x}"
        store.add(ApiKey(key_id, sha256(SECRET.encode()).hexdigest(), scopes, namespaces, *limit))
        return {"x-api-key": f"rs_{key_id}_{SECRET}"}

    made = {
        "key": add(1),
        "key for the shop": add(2, SCOPES, ("shop",)),
        "key for others": add(3, SCOPES, (OTHERS,)),
        "key without scope": add(4, ()),
        **{f"key that may {scope}": add(5 + n, (scope,)) for n, scope in enumerate(SCOPES)},
        "exhausted": add(8, SCOPES, ("*",), 0.001, 1),
        "revoked": add(9),
        "unknown": {"x-api-key": f"rs_{'f' * 12}_{SECRET}"},
        "wrong secret": {"x-api-key": f"rs_{1:012x}_{SECRET[::-1]}"},
        "none": {},
        "basic": {"authorization": "Basic c2VjcmV0OnNlY3JldA=="},
    }
    store.revoke(f"{9:012x}")
    for n, text in enumerate(("", "x", SECRET, "é" * 100, f"rs_{1:012x}_", "rs__" + SECRET, "x" * 9000, "\ud800")):
        made[f"malformed {n}"] = {"x-api-key": text}
    return made


def expected(state, scope, *, in_namespace):
    """Status of an answer to a route of a scope, or None where the view decides."""
    good = state in ("key", "token", "token of ES256")
    if scope is None or good:
        return None
    if state == "exhausted":
        return 429
    if state.startswith("key that may "):
        return None if state.endswith(scope) else 403
    if state in ("key without scope", "token without scope"):
        return 403
    if state in ("key for others", "token for others"):
        return 404 if in_namespace else 403
    if state in ("key for the shop", "token of a list"):
        return None if in_namespace else 403
    return 401
