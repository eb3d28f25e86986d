"""Privacy: which columns are personal, views that mask them, pseudonyms for exports, and who may access what."""
