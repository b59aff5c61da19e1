"""Letters to people: plain text, no PHI, sent by a worker."""
