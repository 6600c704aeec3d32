"""Help for testing: the contract suite for brokers, and what else a test of jobs needs. None of it needs pytest."""
