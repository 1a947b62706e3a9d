"""What every package may use: text for messages, threads, a cache."""
