"""The REST API: routes parse, call the service and shape the answer.

What parses bodies is imported with the first of them: msgspec would take longer to load than a first list to answer.
What is imported here lives as long as the process, so the garbage collector neither looks at it now nor later.
"""

import gc

gc.disable()

from chalicelib.face import Face  # noqa: E402
from chalicelib.requests import path_id, path_namespace, query_list  # noqa: E402
from chalicelib.responses import Problem, answer, ranked, scored  # noqa: E402
from chalicelib.wiring import service, stores, warm_up  # noqa: E402
from recsys.errors import UnknownItemError  # noqa: E402

gc.freeze()
gc.enable()

app = Face(app_name="recsys")


@app.route("/v1/{ns}/users/{user}/recommendations", methods=["GET"], scope="read")
def recommendations(ns, user):
    """Top-K for a user: GET ...?k=20, and any declared field: ...&genre=drama."""
    k, rules = query_list(app.current_request)
    return ranked(app.request_id, service().recommend(path_namespace(ns), path_id("user", user), k, rules=rules))


@app.route("/v1/{ns}/users/{user}/recommendations", methods=["POST"], scope="read")
def recommendations_in_context(ns, user):
    """Top-K for a user, here and now: {"k"?, "context"?, "events"?, "filter"?, "boost"?, ...}."""
    from chalicelib.bodies import asked_list

    k, asked = asked_list(app.current_request)
    return ranked(app.request_id, service().recommend(path_namespace(ns), path_id("user", user), k, **asked))


@app.route("/v1/{ns}/recommendations", methods=["POST"], scope="read")
def recommendations_for_a_session(ns):
    """Top-K for nobody known, from a session's events and context alone: {"k"?, "context"?, "events"?, ...}."""
    from chalicelib.bodies import asked_list

    k, asked = asked_list(app.current_request)
    return ranked(app.request_id, service().recommend(path_namespace(ns), None, k, **asked))


@app.route("/v1/{ns}/users/{user}/scores", methods=["POST"], scope="read")
def scores(ns, user):
    """Predictions for named items: {"items", "context"?, "explain"?}."""
    from chalicelib.bodies import asked_scores

    asked = asked_scores(app.current_request)
    who = path_namespace(ns), path_id("user", user)
    try:
        found = service().scores(*who, asked.items, context=asked.context, explain=asked.explain)
    except UnknownItemError as error:
        raise Problem(404, str(error), field="items") from None
    return scored(app.request_id, found, explain=asked.explain)


@app.route("/v1/{ns}/items/{item}/similar", methods=["GET"], scope="read")
def similar_items(ns, item):
    """Nearest items: GET ...?k=20, and any declared field."""
    k, rules = query_list(app.current_request)
    return ranked(app.request_id, service().similar(path_namespace(ns), path_id("item", item), k, rules=rules))


@app.route("/v1/{ns}/popular", methods=["GET"], scope="read")
def popular(ns):
    """Items most users have: GET ...?k=20, and any declared field."""
    k, rules = query_list(app.current_request)
    return ranked(app.request_id, service().popular(path_namespace(ns), k, rules=rules))


@app.route("/v1/{ns}/items/{item}", methods=["PUT"], scope="write")
def put_item(ns, item):
    """Store what is known of an item, one object, in place of what was known before."""
    from chalicelib.bodies import parsed_body

    namespace, item, metadata = path_namespace(ns), path_id("item", item), parsed_body(app.current_request)
    service().put_item(namespace, item, metadata)
    return answer(app.request_id, {"item": item, "metadata": metadata})


@app.route("/v1/{ns}/items/{item}", methods=["GET"], scope="read")
def item(ns, item):
    """Return what is known of an item."""
    item = path_id("item", item)
    return answer(app.request_id, {"item": item, "metadata": service().item(path_namespace(ns), item)})


@app.route("/v1/{ns}/items/{item}", methods=["DELETE"], scope="write")
def delete_item(ns, item):
    """Take an item out of every list, at once, until it is put again."""
    item = path_id("item", item)
    service().delete_item(path_namespace(ns), item)
    return answer(app.request_id, {"item": item, "deleted": True})


@app.route("/v1/{ns}/catalogue", methods=["PUT"], scope="admin")
def put_catalogue(ns):
    """Declare the fields that rules may name: {"fields": {"genre": "keyword", "year": "number"}}."""
    from chalicelib.bodies import sent_fields

    fields = service().put_fields(path_namespace(ns), sent_fields(app.current_request))
    return answer(app.request_id, {"fields": fields})


@app.route("/v1/{ns}/catalogue", methods=["GET"], scope="read")
def catalogue(ns):
    """Return the declared fields and their kinds."""
    return answer(app.request_id, {"fields": service().fields(path_namespace(ns))})


@app.route("/v1/{ns}/events", methods=["POST"], scope="write")
def events(ns):
    """Up to 500 events, visible to the next recommendation of their users; 202 once they are stored."""
    from chalicelib.bodies import sent_events

    sent = sent_events(app.current_request)
    new = service().record_events(path_namespace(ns), sent)
    return answer(app.request_id, {"accepted": new, "duplicates": len(sent) - new}, status=202)


@app.route("/console", methods=["GET"], scope=None)
def console():
    """Return a page that asks this API; it holds no data itself."""
    from chalicelib.console import page

    return page()


@app.route("/health/live", methods=["GET"], scope=None)
def live():
    """Whether the process answers."""
    return answer(app.request_id, {"status": "live"})


@app.route("/health/ready", methods=["GET"], scope=None)
def ready():
    """Whether the stores answer and the models in service are warm; the first call warms them, if nobody has."""
    stores().check()
    if not warm_up().ready():
        raise Problem(503, "the models in service are being loaded; try again")
    return answer(app.request_id, {"status": "ready"})
