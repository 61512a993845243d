"""From a claim to a committed outcome: what to send, what one attempt came to, and when to try again."""
