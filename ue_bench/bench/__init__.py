"""How fast this machine trains victims, beside the loop that a user would otherwise write."""
