"""The REST API: routes parse, call the service and shape the answer.

What parses bodies is imported with the first of them: msgspec would take longer to load than a first list to answer.
What is imported here lives as long as the process, so the garbage collector neither looks at it now nor later.
"""

import gc

gc.disable()

from chalicelib.face import Face  # noqa: E402
from chalicelib.requests import path_id, path_namespace, query_list  # noqa: E402
from chalicelib.responses import Problem, answer, erased, held, moved, ranked, scored  # noqa: E402
from chalicelib.wiring import cursor_key, people, service, stores, versions, warm_up  # noqa: E402

gc.freeze()
gc.enable()

app = Face(app_name="recsys")


@app.route("/v1/{ns}/users/{user}/recommendations", methods=["GET"], scope="read")
def recommendations(ns, user):
    """Top-K for a user: GET ...?k=20, and any declared field: ...&genre=drama."""
    k, asked = query_list(app.current_request)
    who, request_id = (path_namespace(ns), path_id("user", user)), app.request_id
    return ranked(request_id, service().recommend(*who, k, **asked, request_id=request_id))


@app.route("/v1/{ns}/users/{user}/recommendations", methods=["POST"], scope="read")
def recommendations_in_context(ns, user):
    """Top-K for a user, here and now: {"k"?, "context"?, "events"?, "filter"?, "boost"?, ...}."""
    from chalicelib.bodies import asked_list

    k, asked = asked_list(app.current_request)
    who, request_id = (path_namespace(ns), path_id("user", user)), app.request_id
    return ranked(request_id, service().recommend(*who, k, **asked, request_id=request_id))


@app.route("/v1/{ns}/recommendations", methods=["POST"], scope="read")
def recommendations_for_a_session(ns):
    """Top-K for nobody known, from a session's events and context alone: {"k"?, "context"?, "events"?, ...}."""
    from chalicelib.bodies import asked_list

    k, asked = asked_list(app.current_request)
    request_id = app.request_id
    return ranked(request_id, service().recommend(path_namespace(ns), None, k, **asked, request_id=request_id))


@app.route("/v1/{ns}/users/{user}/scores", methods=["POST"], scope="read")
def scores(ns, user):
    """Predictions for named items: {"items", "context"?, "explain"?}."""
    from chalicelib.bodies import asked_scores

    asked = asked_scores(app.current_request)
    who = path_namespace(ns), path_id("user", user)
    found = service().scores(*who, asked.items, context=asked.context, explain=asked.explain)
    return scored(app.request_id, found, explain=asked.explain)


@app.route("/v1/{ns}/items/{item}/similar", methods=["GET"], scope="read")
def similar_items(ns, item):
    """Nearest items; of one that no model knows yet, popular ones. GET ...?k=20, and any declared field."""
    k, asked = query_list(app.current_request)
    return ranked(app.request_id, service().similar(path_namespace(ns), path_id("item", item), k, **asked))


@app.route("/v1/{ns}/popular", methods=["GET"], scope="read")
def popular(ns):
    """Items most users have: GET ...?k=20, and any declared field."""
    k, asked = query_list(app.current_request)
    return ranked(app.request_id, service().popular(path_namespace(ns), k, **asked))


@app.route("/v1/{ns}/items/{item}/similar", methods=["POST"], scope="read")
def similar_items_by_rules(ns, item):
    """Nearest items, by rules: {"k"?, "filter"?, "boost"?, ...}."""
    from chalicelib.bodies import ListIn, asked_by

    asked = asked_by(app.current_request, ListIn)
    return ranked(app.request_id, service().similar(path_namespace(ns), path_id("item", item), **asked))


@app.route("/v1/{ns}/popular", methods=["POST"], scope="read")
def popular_by_rules(ns):
    """Items most users have, by rules: {"k"?, "filter"?, "boost"?, ...}."""
    from chalicelib.bodies import ListIn, asked_by

    return ranked(app.request_id, service().popular(path_namespace(ns), **asked_by(app.current_request, ListIn)))


@app.route("/v1/{ns}/trending", methods=["GET", "POST"], scope="read")
def trending(ns):
    """Items by decayed number of events: GET ...?k=20&half_life_h=720, and any declared field; POST takes rules."""
    from chalicelib.rows import asked_trending

    return ranked(app.request_id, service().trending(path_namespace(ns), **asked_trending(app.current_request)))


@app.route("/v1/{ns}/users/{user}/rerank", methods=["POST"], scope="read")
def rerank(ns, user):
    """Named items in a user's order: {"items", "k"?, "context"?, "events"?, "filter"?, "boost"?, ...}."""
    from chalicelib.rows import asked_rerank

    asked = asked_rerank(app.current_request)
    return ranked(app.request_id, service().rerank(path_namespace(ns), path_id("user", user), **asked))


@app.route("/v1/{ns}/users/{user}/rows", methods=["GET", "POST"], scope="read")
def rows(ns, user):
    """Because you liked this, that: GET ...?rows=3&k=20, and any declared field; POST takes rules."""
    from chalicelib.rows import asked_rows, in_rows

    asked = asked_rows(app.current_request)
    return in_rows(app.request_id, service().because(path_namespace(ns), path_id("user", user), **asked))


@app.route("/v1/{ns}/batch", methods=["POST"], scope="read")
def batch(ns):
    """Up to 100 of the requests above in one: {"requests": [{"route": "trending", "k": 5}, ...]}."""
    from chalicelib.batch import answers

    service().models.require(path_namespace(ns))
    return answers(app, ns)


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
    """Up to 500 events, visible to the next recommendation of their users, or impressions; 202 once they are stored."""
    from chalicelib.bodies import sent_events

    namespace, (sent, shown) = path_namespace(ns), sent_events(app.current_request)
    new = service().record_impressions(namespace, shown) if shown else 0
    new += service().record_events(namespace, sent) if sent else 0
    return answer(app.request_id, {"accepted": new, "duplicates": len(sent) + len(shown) - new}, status=202)


@app.route("/v1/{ns}/experiment", methods=["PUT"], scope="admin")
def put_experiment(ns):
    """Split the users of a namespace over variants: {"name", "salt"?, "variants": [{"name", "version"?, "share"}]}."""
    from chalicelib.experiment import sent_experiment

    document = service().put_experiment(path_namespace(ns), sent_experiment(app.current_request))
    return answer(app.request_id, {"experiment": document})


@app.route("/v1/{ns}/experiment", methods=["GET"], scope="read")
def experiment(ns):
    """Return the last experiment, null where there never was one."""
    return answer(app.request_id, {"experiment": service().experiment(path_namespace(ns))})


@app.route("/v1/{ns}/experiment", methods=["DELETE"], scope="admin")
def end_experiment(ns):
    """Give everybody the version in service again; what was shown until now can be reported still."""
    return answer(app.request_id, {"experiment": service().end_experiment(path_namespace(ns))})


@app.route("/v1/{ns}/users/{user}", methods=["GET"], scope="admin")
def user(ns, user):
    """Return what is held of a user: profile, the newest 200 events, and whether the model was trained with them."""
    namespace, user = path_namespace(ns), path_id("user", user)
    return held(app.request_id, user, people().held(namespace, user))


@app.route("/v1/{ns}/users/{user}", methods=["DELETE"], scope="admin")
def erase_user(ns, user):
    """Erase a user, and say what has to wait for the nightly run."""
    namespace, user = path_namespace(ns), path_id("user", user)
    return erased(app.request_id, user, people().erase(namespace, user))


@app.route("/v1/{ns}/models", methods=["GET"], scope="read")
def models(ns):
    """Return the last versions that were in service, newest first."""
    return answer(app.request_id, {"models": [one._asdict() for one in versions().listed(path_namespace(ns))]})


@app.route("/v1/{ns}/models/current", methods=["GET"], scope="read")
def current_model(ns):
    """Return the version in service, and the number that a move of the pointer has to expect."""
    model, now = versions().current(path_namespace(ns))
    return answer(app.request_id, {**model._asdict(), "sequence": now.sequence, "previous": now.previous})


@app.route("/v1/{ns}/models/{version}/activate", methods=["POST"], scope="admin")
def activate(ns, version):
    """Put a version into service: {"expected"?: sequence number}."""
    from chalicelib.bodies import sent_move

    namespace, version, expected = path_namespace(ns), path_id("version", version), sent_move(app.current_request)
    return moved(app.request_id, versions().activate(namespace, version, expected))


@app.route("/v1/{ns}/models/rollback", methods=["POST"], scope="admin")
def roll_back(ns):
    """Put the version before back into service: {"expected"?: sequence number}."""
    from chalicelib.bodies import sent_move

    namespace, expected = path_namespace(ns), sent_move(app.current_request)
    return moved(app.request_id, versions().roll_back(namespace, expected))


@app.route("/metrics", methods=["GET"], scope="admin")
def metrics():
    """Return what this process answered, in numbers."""
    from chalicelib.metrics import metrics

    return metrics(app.current_request, app.request_id, app.counts)


@app.route("/console", methods=["GET"], scope=None)
def console():
    """Return a page that asks this API: it holds no data itself."""
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
    cursor_key()
    if not warm_up().ready():
        raise Problem(503, "the models in service are being loaded; try again")
    return answer(app.request_id, {"status": "ready"})


@app.route("/v1/openapi.json", methods=["GET"], scope=None)
def openapi():
    """Return this description of the routes, OpenAPI 3.1."""
    from chalicelib.openapi.document import description

    return description()
