"""Bytes at rest: encrypted, durable, readable anywhere in the middle. Knows no DICOM."""
