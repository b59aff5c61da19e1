"""People, their places, their sign-in, and the rule that every URL declares."""
