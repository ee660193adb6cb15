"""What the libraries `datasets` and `huggingface_hub` raise, in one line each."""

from __future__ import annotations

import re

from nnn_bench.config.datasets import HubSource
from nnn_bench.config.errors import UserError, nearest
from nnn_bench.data.delivery.shelf import Unavailable


def told(error: Exception, source: HubSource, config: str, *, local: bool) -> UserError:
    """`Unavailable` for what passes, `UserError` for what the user must mend. `config` is the data set's configuration file."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, UserError):
        return error
    repository, key = source.repository, "repository"
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if isinstance(error, StopIteration):
        return UserError(f"{repository} holds no rows", file=config, key=key)
    if local:
        return UserError(f"cannot be read as a data set: {said}", file=repository)
    if isinstance(error, GatedRepoError) or "gated dataset" in said:
        return Unavailable(
            f"{repository} is only for users its owner admits; ask there, then log in with `hf auth login`",
            file=config,
        )
    if isinstance(error, RevisionNotFoundError) or said.startswith("Revision "):
        return UserError(f"{repository} has no revision {source.revision!r}", file=config, key="revision")
    if isinstance(error, RepositoryNotFoundError | DatasetNotFoundError | HFValidationError):
        return UserError(
            f"the hub has no data set {repository}, or it is private; look at the name, or log in with `hf auth login`",
            file=config,
            key=key,
        )
    if isinstance(error, HTTPError | OSError):
        return Unavailable(f"{repository} cannot be had from the hub: {said}; try again with a network")
    return UserError(f"{repository} cannot be read as a data set: {said}", file=config, key=key)


def configuration_absent(error: ValueError, source: HubSource, config: str) -> UserError | None:
    """That the configuration is not there, or must be named, where the library says so; it lists those there are."""
    said = " ".join(str(error).split())
    key = "configuration"
    listed = re.search(r"(?:Available|Please pick one among the available configs): \[(.*?)\]", said)
    known = re.findall(r"'([^']*)'", listed[1]) if listed else []
    if not known:
        return None
    if source.configuration is None:
        return UserError(f"must name one of the configurations; {nearest('', known)}", file=config, key=key)
    return UserError(
        f"there is no configuration {source.configuration!r}; {nearest(source.configuration, known)}",
        file=config,
        key=key,
    )
