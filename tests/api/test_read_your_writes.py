"""An event that was answered with 202 is in the next list of its user, whoever else writes at the same time."""

import threading
import time

from api_client import body_of, event, user_path
from conftest import server_over

from recsys.serving import SQLiteOnlineStore

CLIENTS, ROUNDS = 8, 12


def lost_writes(writers, readers):
    """Every client sends what its own list begins with, again and again; return what is offered once more."""
    lost, together = [], threading.Barrier(CLIENTS)

    def client(number):
        user, had = f"writer {number}", set()
        write, read = writers[number % len(writers)], readers[number % len(readers)]
        together.wait()
        try:
            for n in range(ROUNDS):
                offered = read.get(user_path(user) + "?k=1").items[0][0]
                sent = write.post(body_of(event(f"{user} {n}", user, offered)))
                assert (sent.status, sent.json["accepted"]) == (202, 1)
                had.add(offered)
                answer = read.get(user_path(user) + "?k=500")
                if answer.json["strategy"] != "fold_in" or had & set(dict(answer.items)):
                    lost.append((user, n, answer.json["strategy"]))
        except Exception as error:
            lost.append((user, error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lost


def test_in_one_process(api):
    assert lost_writes([api], [api]) == []


def test_over_the_wire_of_one_server(shop, start_server):
    with start_server(shop) as server:
        assert lost_writes([server], [server]) == []


def test_what_one_server_took_the_other_knows(shop, tmp_path):
    with server_over(shop, tmp_path / "one.log") as one, server_over(shop, tmp_path / "other.log") as other:
        assert lost_writes([one, other], [other, one]) == []


def test_an_answer_before_the_event_is_stored_is_noticed(api, monkeypatch):
    """Planted: the tests above would prove nothing if this passed."""
    store, late = SQLiteOnlineStore.append_events, []

    def too_early(*arguments):
        late.append(threading.Thread(target=lambda: (time.sleep(0.1), store(*arguments))))
        late[-1].start()
        return 1

    monkeypatch.setattr(SQLiteOnlineStore, "append_events", too_early)
    assert lost_writes([api], [api])
    for thread in late:
        thread.join()


def test_a_reader_that_stays_in_an_old_transaction_is_noticed(api):
    """Planted: reads that SQLite answers from one snapshot for ever."""
    from chalicelib import wiring

    with wiring.stores().online._reads.held("planting") as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM events").fetchone()
    assert lost_writes([api], [api])
    with wiring.stores().online._reads.held("tidying up") as db:
        db.execute("ROLLBACK")
