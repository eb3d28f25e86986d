"""Tools that contributors run on the repository itself. They are not a part of the running platform.

They may import only `searchflow`.
"""
