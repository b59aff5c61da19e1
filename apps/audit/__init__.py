"""The audit room: what happened, written once."""
