"""The description of the API: a table of operations, the shapes of their answers, and the document made from both."""
