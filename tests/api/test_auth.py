"""Keys, tokens and limits."""

import pytest
from app import app


def test_every_route_says_which_scope_it_takes():
    routes = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert set(app.scopes) == routes
    assert set(app.scopes.values()) <= {"read", "write", "admin", None}
    public = {path for (_, path), scope in app.scopes.items() if scope is None}
    assert public <= {"/health/live", "/health/ready", "/v1/openapi.json", "/console"}  # none that names a namespace
    with pytest.raises(TypeError, match="scope"):
        app.route("/v1/{ns}/forgotten", methods=["GET"])
