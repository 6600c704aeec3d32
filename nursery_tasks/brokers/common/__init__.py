"""What several brokers have in common."""
