"""The database engine of an embedded installation; see base.py."""
