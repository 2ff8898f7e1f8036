"""Pydantic models and dataclasses, as the JSON that they write themselves.

Pydantic is imported when a class of its own is met, and so has been imported before.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any

from actorq.errors import TaskDefinitionError
from actorq.serialization.hook import Codec
from actorq.serialization.misfit import Misfit, crashed, expected, step
from actorq.serialization.plain import plain


if TYPE_CHECKING:
    from pydantic import TypeAdapter


def model(kind: type) -> Codec:
    """What pydantic writes of it, after a look whether pydantic would read the same again."""
    both = _Model(kind)
    return Codec(both.dump, both.load)


class _Model:
    """A model, or one of pydantic's dataclasses."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    @functools.cached_property
    def adapter(self) -> TypeAdapter[Any]:
        # At first use: a model may name others that are defined after it.
        from pydantic import TypeAdapter

        return TypeAdapter(self.kind)

    @property
    def field_names(self) -> list[str]:
        if dataclasses.is_dataclass(self.kind):
            return [field.name for field in dataclasses.fields(self.kind)]
        return list(getattr(self.kind, "model_fields", ()))

    def dump(self, value: Any, _: Any = None) -> Any:
        if type(value) is not self.kind:  # a subclass would lose its own fields
            raise expected(self.kind, value)
        try:
            written = self.adapter.dump_python(
                value, mode="json", by_alias=True, round_trip=True, warnings="error"
            )
        except Exception as error:
            raise self._failure(error) from error
        copied = plain(written)
        self._check_it_comes_back(value, copied)
        return copied

    def load(self, plain: Any, _: Any = None) -> Any:
        try:
            # as JSON: a strict model takes a text for a date there, and not from Python
            return self.adapter.validate_json(json.dumps(plain))
        except Exception as error:
            raise self._failure(error) from error

    def _check_it_comes_back(self, value: Any, written: Any) -> None:
        name = self.kind.__name__
        try:
            back = self.load(written)
        except Misfit as misfit:
            misfit.problem = f"{name} does not read what it writes: {misfit.problem}"
            raise
        try:
            lost = [
                each
                for each in self.field_names
                if not getattr(back, each) == getattr(value, each)  # noqa: SIM201 - the user's ==
            ]
        except Exception as error:  # their == are the user's
            raise crashed(error) from error
        if lost:  # no values: there is a reason why a secret is not written
            raise Misfit(
                f"{name} comes back as another from its own JSON: {', '.join(lost)} would be lost (a "
                f"secret, a field that is excluded, or a class without ==); give the field a "
                f"serializer that writes it in full, or pass it in another way",
                carried=False,
            )

    def _failure(self, error: Exception) -> Exception:
        from pydantic import PydanticUndefinedAnnotation, PydanticUserError, ValidationError

        if isinstance(error, PydanticUndefinedAnnotation | PydanticUserError):
            return TaskDefinitionError(
                f"pydantic cannot use the model {self.kind.__qualname__}: {error.message}"
            )
        if not isinstance(error, ValidationError):
            return crashed(error)  # validators and serializers are the user's
        # without the input: it may be a secret, and it may be long
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        misfit = Misfit(f"{self.kind.__name__} refused it: {first['msg']}{more}")
        misfit.steps = [step(each) for each in reversed(first["loc"])]
        return misfit
