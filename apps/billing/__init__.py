"""The billing room: plans, subscriptions, limits."""
