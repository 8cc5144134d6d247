"""The settings of the queue providers."""

from __future__ import annotations

from pydantic import Field, SecretStr

from mahavishnu_sched_mcp.settings.slice import Slice, WebUrl


class QueueSlice(Slice):
    """What all queue providers share."""

    concurrency: int = Field(
        default=4, ge=0, le=256, description="runs at once; 0 leaves the queue to `worker`"
    )


class SqliteQueueSettings(QueueSlice):
    """The embedded queue in the data dir."""


class RedisQueueSettings(QueueSlice):
    """Redis Streams."""

    url: str = Field(default="redis://127.0.0.1:6379/0", description="address of the server")


class NatsQueueSettings(QueueSlice):
    """NATS JetStream."""

    url: str = Field(default="nats://127.0.0.1:4222", description="address of the server")


class RabbitmqQueueSettings(QueueSlice):
    """RabbitMQ."""

    url: str = Field(
        default="amqp://guest:guest@127.0.0.1:5672/", description="address of the server"
    )


class KafkaQueueSettings(QueueSlice):
    """Kafka."""

    bootstrap_servers: str = Field(description="host:port of a broker, or several with commas")
    topic: str = Field(default="mahavishnu", description="the topic of the runs")


class CloudTasksQueueSettings(QueueSlice):
    """Google Cloud Tasks."""

    project_id: str = Field(description="the cloud project")
    location: str = Field(description="the region of the queue")
    queue: str = Field(default="mahavishnu", description="the queue of the runs")
    http_target_url: WebUrl = Field(description="the address that Cloud Tasks calls")


class PubsubQueueSettings(QueueSlice):
    """Google Pub/Sub."""

    project_id: str = Field(description="the cloud project")
    topic: str = Field(default="mahavishnu", description="the topic of the runs")
    subscription: str = Field(default="mahavishnu", description="the subscription to read from")


class QueueSettings(Slice):
    """The queue providers of the Oneiric engine."""

    signing_key: SecretStr | None = Field(
        default=None,
        description="null = made at first start, file mode 0600; workers elsewhere need the same",
    )
    sqlite: SqliteQueueSettings = Field(default=SqliteQueueSettings())
    redis: RedisQueueSettings = Field(default=RedisQueueSettings())
    nats: NatsQueueSettings = Field(default=NatsQueueSettings())
    rabbitmq: RabbitmqQueueSettings = Field(default=RabbitmqQueueSettings())
    kafka: KafkaQueueSettings | None = Field(
        default=None, description="{bootstrap_servers, topic, concurrency}"
    )
    cloudtasks: CloudTasksQueueSettings | None = Field(
        default=None, description="{project_id, location, queue, http_target_url, concurrency}"
    )
    pubsub: PubsubQueueSettings | None = Field(
        default=None, description="{project_id, topic, subscription, concurrency}"
    )
