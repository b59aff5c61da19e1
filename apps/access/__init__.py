"""The gate to the way out: principals, authorisation and the record before the first byte."""
