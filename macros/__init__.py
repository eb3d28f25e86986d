"""Macros of the SQLMesh models. Self-contained: SQLMesh serializes each one, so none imports another module of this
project."""
