"""Parse environment variables with pydantic-settings. After an invalid variable, the others are parsed too."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

# All other empty variables count as unset. For this variable, unset means that every form is accepted, so an empty list must
# be an error.
_EMPTY_IS_INVALID: Final = "KMESH_AWSIAM_CREDENTIAL_FORMS"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of the environment: the variable and the remedy."""

    variable: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.remedy}"


class InvalidFieldError(Exception):
    """The program read a field that has no value, because the text of the field's environment variable is invalid."""


def setting(variable: str, meaning: str, *, default: Any = None, repr: bool = True) -> Any:  # noqa: A002 - pydantic's
    """Declare a setting.

    Args:
        variable: the environment variable.
        meaning: the variable's row in docs/reference/configuration.md, in Markdown; ``make docs`` writes it there.
        default: the value if the variable is unset or empty.
        repr: whether the value may be shown.
    """
    return Field(default, validation_alias=variable, description=meaning, repr=repr)


class SettingsGroup(BaseSettings):
    """Fields that belong together. `app.settings.environment.Settings` inherits from all groups.

    Reading a field whose text is invalid raises `InvalidFieldError`, so no rule uses a missing value.
    """

    # defer_build: only `Settings` is used, and only at start.
    # enable_decoding: by default pydantic-settings would read lists as JSON.
    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        case_sensitive=True,
        defer_build=True,
        enable_decoding=False,
        validate_default=False,
    )

    _faults: dict[str, str] = PrivateAttr(default_factory=dict)

    def faults(self) -> list[Problem]:
        """Return the problem of each field whose text is invalid, in the order of the fields."""
        return [Problem(variable_of(type(self), name), remedy) for name, remedy in self._faults.items()]

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, variables: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in variables.items() if text or name == _EMPTY_IS_INVALID}

    @field_validator("*", mode="wrap")
    @classmethod
    def _keep_fault(cls, text: str, parse: ValidatorFunctionWrapHandler) -> Any:
        try:
            return parse(text)
        except ValidationError as error:
            return _Fault(_remedy_of(error))

    @model_validator(mode="after")
    def _set_faults_aside(self) -> Self:
        for name, value in list(self.__dict__.items()):
            if isinstance(value, _Fault):
                self._faults[name] = value.remedy
                del self.__dict__[name]
        return self

    if not TYPE_CHECKING:  # with this method, a type checker would accept every name

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise InvalidFieldError(name)
            return super().__getattr__(name)


def variable_of(group: type[SettingsGroup], field: str) -> str:
    """Return the environment variable of a field."""
    return str(group.model_fields[field].validation_alias)


@dataclass(frozen=True, slots=True)
class _Fault:
    remedy: str


def _remedy_of(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "literal_error":
        return f"it must be {detail['ctx']['expected']}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
