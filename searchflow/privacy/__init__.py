"""Privacy of what is kept: views that mask personal columns, pseudonyms for exports, and who may access what.

Which columns are personal is marked in `searchflow.transformation.marks`; `searchflow.erasure` forgets a person.
"""
