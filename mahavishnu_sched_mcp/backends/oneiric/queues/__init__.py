"""One queue adapter per provider, each as `protocol.QueueBackend` asks."""
