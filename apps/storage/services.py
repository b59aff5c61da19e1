"""The door of the vault."""
