"""What people would get by e-mail: queues that are subscribed to the topics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from shopware_pipelines.local.clients import Clients


@dataclass(frozen=True, slots=True)
class Message:
    """One notification."""

    topic: str
    """The topic's name."""
    subject: str
    text: str
    kind: str = ""
    """Of what alerting sends (`interactions.alerts`): what it is about."""
    alert_id: str = ""
    """Of what alerting sends: the same again means told twice."""


class Inbox:
    """Receives from every topic that it is subscribed to."""

    def __init__(self, clients: Clients, name: str) -> None:
        self.sqs, self.sns = clients.sqs, clients.sns
        self.url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self.arn = attributes["Attributes"]["QueueArn"]

    def subscribe(self, topic_arn: str) -> None:
        """From now on."""
        self.sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=self.arn)

    def take(self) -> Iterator[Message]:
        """What has come in, in no particular order; each message once."""
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                body = json.loads(message["Body"])
                attributes = body.get("MessageAttributes", {})
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                yield Message(
                    topic=str(body.get("TopicArn", "")).rsplit(":", 1)[-1],
                    subject=str(body.get("Subject") or "without a subject"),
                    text=str(body.get("Message", "")),
                    kind=str(attributes.get("kind", {}).get("Value", "")),
                    alert_id=str(attributes.get("alert_id", {}).get("Value", "")),
                )
