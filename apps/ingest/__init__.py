"""The only way in: receive, examine, settle; the upload page, imports."""
