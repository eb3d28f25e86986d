"""A check of the servers, no rule: SQLMesh imports this folder whenever it loads the project, and so says in one line
that a server is down."""

from searchflow.transformation.by_hand import say_in_one_line

say_in_one_line()
