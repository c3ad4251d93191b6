"""All operations, in the order in which they are shown: their examples work one after the other on the sample."""

from chalicelib.openapi.lists import LISTS
from chalicelib.openapi.operating import OPERATING
from chalicelib.openapi.records import RECORDS

OPERATIONS = (*LISTS, *RECORDS, *OPERATING)
