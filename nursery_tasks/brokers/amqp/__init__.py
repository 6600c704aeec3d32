"""The brokers on RabbitMQ: `stored` has a store beside it, `storeless` has none; the rest is what both need."""
