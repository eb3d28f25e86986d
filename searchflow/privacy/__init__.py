"""Privacy of the stored data: views that mask personal columns, pseudonyms for exports, and the roles that grant access.

`searchflow.transformation.marks` marks which columns are personal; `searchflow.erasure` forgets a person.
"""
