"""What AnyIO has no name for: calls between threads and the loop, batches of calls, call deadlines, unwrapped groups."""
