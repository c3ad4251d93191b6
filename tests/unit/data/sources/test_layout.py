import pytest

from recsys.data.sources.layout import recognise, resolve_layout
from recsys.data.sources.spec import ReadSpec
from recsys.errors import DataError


@pytest.mark.parametrize(
    ("names", "field"),
    [
        (["user_id", "userId", "user", "userID", "uid", "USER_ID", "User Id"], "user"),
        (["item_id", "itemId", "item", "movieId", "artistID", "ITEM_ID", "product_id"], "item"),
        (["weight", "rating", "value", "count", "quantity", "EVENT_VALUE"], "weight"),
        (["timestamp", "ts", "time", "TIMESTAMP"], "timestamp"),
        (["event", "event_type", "EVENT_TYPE"], "event"),
        (["event_id"], "event_id"),
        (["title", "", "u"], None),
    ],
)
def test_names_are_recognised(names, field):
    assert {recognise(name) for name in names} == {field}


@pytest.mark.parametrize(
    ("row", "spec", "positions", "has_header"),
    [
        ("title,movieId,userId", ReadSpec(), {"user": 2, "item": 1}, True),
        ("7,31,2.5,1260759144", ReadSpec(), {"user": 0, "item": 1, "weight": 2, "timestamp": 3}, False),
        ("anna,tea,2.5", ReadSpec(), {"user": 0, "item": 1, "weight": 2}, False),
        ("u1,i1", ReadSpec(), {"user": 0, "item": 1}, False),
        ("anna,tea", ReadSpec(header=False), {"user": 0, "item": 1}, False),
        ("anna,tea,2,x,y", ReadSpec(header=False), {"user": 0, "item": 1, "weight": 2, "timestamp": 3}, False),
        ("1,2,3,4", ReadSpec(columns={"user": 3, "item": 0}), {"user": 3, "item": 0}, False),
        ("1,2,3,x", ReadSpec(columns={"timestamp": None}), {"user": 0, "item": 1, "weight": 2}, False),
        ("cust,prod,x", ReadSpec(columns={"user": "cust", "item": "prod"}), {"user": 0, "item": 1}, True),
        ("cust,item,rating", ReadSpec(columns={"user": "cust"}), {"user": 0, "item": 1, "weight": 2}, True),
        ("cust,item,rating", ReadSpec(columns={"user": 0}), {"user": 0, "item": 1, "weight": 2}, True),
        ("user,item,ts", ReadSpec(columns={"timestamp": None}), {"user": 0, "item": 1}, True),
        ("user,item,rating,count", ReadSpec(columns={"weight": "count"}), {"user": 0, "item": 1, "weight": 3}, True),
        # 'user_id' means something else here: what is named is not recognised a second time.
        ("user_id,cust,item", ReadSpec(columns={"user": "cust"}), {"user": 1, "item": 2}, True),
        ("uid,cust,item", ReadSpec(columns={"user": 1, "event": "uid"}), {"user": 1, "item": 2, "event": 0}, True),
        (" user , item ", ReadSpec(), {"user": 0, "item": 1}, True),
        ("user,item,stars,date", ReadSpec(), {"user": 0, "item": 1, "weight": 2, "timestamp": 3}, True),
        ("user,item,score,rating,date,ts", ReadSpec(), {"user": 0, "item": 1, "weight": 3, "timestamp": 5}, True),
        ("user,item,date,Created At", ReadSpec(), {"user": 0, "item": 1}, True),
        ("user,item,date", ReadSpec(columns={"timestamp": None}), {"user": 0, "item": 1}, True),
    ],
)  # fmt: skip
def test_columns_are_found(row, spec, positions, has_header):
    layout = resolve_layout(row.split(","), spec, "a.csv")
    assert (dict(layout.positions), layout.has_header, layout.width) == (positions, has_header, row.count(",") + 1)


@pytest.mark.parametrize(
    ("row", "spec", "message"),
    [
        ("customer_no,product,stars", ReadSpec(), "neither a header with known names nor plainly data"),
        ("cust,prod", ReadSpec(), "; pass --no-header or header=False if it is data"),
        ("cust,prod,stars", ReadSpec(header=True), "found no user column; the columns are 'cust', 'prod', 'stars'"),
        ("user,prod", ReadSpec(header=True), "found no item column"),
        (
            "user,item",
            ReadSpec(columns={"weight": "plays"}),
            "column 'weight': there is no column 'plays'; the columns",
        ),
        ("user,uid,item", ReadSpec(), "the columns 'user' and 'uid' could both be the user"),
        (
            "user,item,rating,count",
            ReadSpec(),
            "'rating' and 'count' could both be the weight. Say which by its position: --weight-column 2 or columns=",
        ),
        ("1,2", ReadSpec(columns={"user": 0, "item": 5}), "column 'item': there is no column 5, the first row has 2"),
        ("1", ReadSpec(), "found no item column"),
    ],
)
def test_columns_are_not_found(row, spec, message):
    with pytest.raises(DataError, match=message):
        resolve_layout(row.split(","), spec, "a.csv")


def test_what_is_not_read_is_told():
    assert resolve_layout(["note", "user", "item", "note"], ReadSpec(), "a.csv").unused == ("note", "note")
    assert resolve_layout(["1", "2", "3"], ReadSpec(columns={"user": 2, "item": 0}), "a.csv").unused == ("column 1",)


def test_the_remedy_shows_both_ways_to_name_columns():
    with pytest.raises(DataError) as caught:
        resolve_layout(["cust", "prod"], ReadSpec(header=True), "a.csv")
    assert "columns={\"user\": 'cust', \"item\": 'prod'} or --user-column, --item-column" in str(caught.value)
