"""A context variable that travels with tasks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import trio

import actorq
from actorq import Middleware, TaskMessage


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


class Tenants(Middleware):
    """Whoever is the tenant where a task is enqueued, is it where the task runs."""

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        return message.with_labels(tenant=tenant.get())

    @contextmanager
    def around_execute(self, context: actorq.Context) -> Iterator[None]:
        token = tenant.set(context.labels["tenant"])
        try:
            yield
        finally:
            tenant.reset(token)


broker = actorq.InMemoryBroker().with_middlewares(Tenants())


@broker.task(name="invoice")
async def invoice() -> None:
    print("writes an invoice for", tenant.get())


async def main() -> None:
    async with actorq.open_system(broker):
        token = tenant.set("acme")
        handle = await invoice.kiq()
        tenant.reset(token)
        await handle.result()
        await (await invoice.kiq()).result()


if __name__ == "__main__":
    trio.run(main)
