"""Keys: the master key, each clinic's keys under it, and small secrets sealed with it."""
