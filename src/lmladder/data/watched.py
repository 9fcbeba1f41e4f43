"""Settings that name a file."""

from typing import Self

from lmladder.system.settings import Settings

from pydantic import Field, model_validator


class WatchSettings(Settings):
    """The settings that every rung has."""

    watch: str | None = Field(description="the file whose change makes DVC fit the rung again")


class WatchedFile(Settings):
    """Settings with a file that `watch` must name, or DVC would not see that it changed."""

    path: str = Field(description="the file")
    watch: str = Field(description="the file whose change makes the result again")

    @model_validator(mode="after")
    def _watched(self) -> Self:
        if self.path != self.watch:
            raise ValueError(f"path={self.path}, but watch={self.watch}; give watch={self.path}")
        return self
