"""A refusal is not a crash."""

import attrs
import trio

import actorq


@attrs.frozen
class Withdraw(actorq.Message[int]):
    amount: int


@attrs.frozen
class Audit(actorq.Message[None]):
    pass


class Overdrawn(actorq.Reject):
    pass


class Account(actorq.Actor[Withdraw | Audit]):
    def __init__(self) -> None:
        self.balance = 100

    async def receive(self, message: Withdraw | Audit) -> int | None:
        match message:
            case Withdraw(amount) if amount > self.balance:
                raise Overdrawn(f"only {self.balance} left")
            case Withdraw(amount):
                self.balance -= amount
                return self.balance
            case Audit():
                raise AssertionError("the books do not add up")


async def main() -> None:
    async with actorq.open_kernel() as kernel:
        account = await kernel.spawn(Account, name="account")
        left = await account.ask(Withdraw(30))
        print(left)

        try:
            await account.ask(Withdraw(500))
        except Overdrawn as error:
            print("refused:", error)
        left = await account.ask(Withdraw(30))
        print(left, "- it lives on")

        try:
            await account.ask(Audit())
        except actorq.ActorFailed as error:
            print("crashed:", error, "because", repr(error.__cause__))
        left = await account.ask(Withdraw(30))
        print(left, "- a new life, with new state")


if __name__ == "__main__":
    trio.run(main)
