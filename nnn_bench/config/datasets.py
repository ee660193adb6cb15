"""What `config/datasets/` and `config/tokenizers/` may say: where content comes from, how it is read, how it becomes tokens.

A *source* is one way to get the files of a data set; several may serve it, tried in order, where the content is the same.
The *reader* turns those files into content of one of three forms: text, conversations, labelled arrays. `kind` and `reader`
are names of Python files, in `nnn_bench/data/sources/`, `readers/` and `tokenizers/`.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from nnn_bench.config.recipe import Count, PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.config.words import EachOnce, Name, Sha256, Text

#: What reads a user's file, by its ending, where the data set does not say.
_BY_ENDING = {".txt": "text", ".md": "text", ".json": "messages", ".jsonl": "messages", ".parquet": "messages"}


class PackageSource(Settings):
    """Files inside a pinned published package, fetched by that package's own client and never installed."""

    kind: Literal["package"]
    client: Literal["pip", "npm", "apt"]
    package: Annotated[str, StringConstraints(pattern=r"^@?[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_~:-]*$")]
    files: dict[Text, Sha256] = Field(
        min_length=1, description="glob inside the archive -> hash of the matches, joined in the order of their names"
    )


class GutenbergSource(Settings):
    """Books of Project Gutenberg by number, in this order."""

    kind: Literal["gutenberg"]
    books: Annotated[list[PositiveInt], Field(min_length=1), EachOnce]


_COLUMNS = ({"text"}, {"messages"}, {"query", "target"}, {"image", "label"})


class HubSource(Settings):
    """Columns of a repository of the Hugging Face hub, or of a local folder in its format (a path that begins `.` or `/`)."""

    kind: Literal["hub"]
    repository: Text
    configuration: Text | None = None
    revision: Text | None = Field(default=None, description="commit; what the first fetch met is recorded, and kept to")
    splits: Annotated[list[Text], EachOnce] = Field(default=["train"], min_length=1)
    columns: dict[Literal["text", "messages", "query", "target", "image", "label"], Text] = Field(
        description="what is needed -> name of the column that holds it"
    )
    most_bytes: PositiveInt | None = Field(default=None, description="stream, and stop after the row that reaches it")

    @model_validator(mode="after")
    def _columns_make_a_form(self) -> HubSource:
        if set(self.columns) not in _COLUMNS:
            raise Inconsistent(
                "must be text, or messages, or query and target, or image and label, each with its column",
                key="columns",
            )
        if "image" in self.columns and self.most_bytes is not None:
            raise Inconsistent("is for text and conversations; leave it out", key="most_bytes")
        return self


class BundledSource(Settings):
    """A file inside an installed Python package, found by path and never imported."""

    kind: Literal["bundled"]
    package: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    files: dict[Text, Sha256] = Field(min_length=1, description="path inside the package -> hash")


class SyntheticSource(Settings):
    """Content made from a seed, the same on every machine; see `nnn_bench/data/sources/synthetic.py`."""

    kind: Literal["synthetic"]
    task: Literal["random_tokens", "associative_recall", "k_hop", "tones"]
    seed: Count = 0
    examples: PositiveInt = Field(description="characters of random_tokens, else questions or sounds")
    symbols: int = Field(
        default=26, ge=2, le=52, strict=True, description="different letters; of tones: different pitches"
    )
    pairs: PositiveInt = Field(default=8, description="key-value pairs, or links, shown before a question")
    hops: PositiveInt = Field(default=2, description="k_hop: links from the question to its answer")
    samples: int = Field(default=256, ge=16, le=65536, strict=True, description="tones: values of a sound")


class FileSource(Settings):
    """One local file; a relative path starts at the project root."""

    kind: Literal["file"]
    path: Text
    sha256: Sha256 | None = None


class FolderSource(Settings):
    """Local files below a folder that match a glob, in the order of their names."""

    kind: Literal["folder"]
    path: Text
    files: Text = "*.txt"
    sha256: Sha256 | None = Field(default=None, description="of all of them joined")


Source = Annotated[
    PackageSource | GutenbergSource | HubSource | BundledSource | SyntheticSource | FileSource | FolderSource,
    Field(discriminator="kind"),
]


class Dataset(Settings):
    """Content with a hash, where it can be had, and how it is cut into training, validation and test parts."""

    summary: Text
    licence: Text
    citation: Text
    source: Source | None = None
    sources: list[Source] | None = Field(
        default=None, min_length=2, description="several, tried in order; needs sha256"
    )
    reader: Name | None = Field(
        default=None, description="file of nnn_bench/data/readers; default: by source and ending"
    )
    sha256: Sha256 | None = Field(default=None, description="of the content that is read: one text is one hash")
    bytes: PositiveInt | None = Field(default=None, description="of that content")
    validation_share: float = Field(default=0.05, gt=0, le=0.4)
    test_share: float = Field(default=0.05, gt=0, le=0.4)
    gap: Count = Field(default=2048, description="text: characters dropped between splits, at least one context")

    @model_validator(mode="after")
    def _is_one_content(self) -> Dataset:
        if (self.source is None) == (self.sources is None):
            raise Inconsistent("give one source, or several as sources", key="source")
        if self.sources is not None and self.sha256 is None:
            raise Inconsistent("is missing; several sources are one data set only where their content is", key="sha256")
        self.reader_name  # noqa: B018  raises where it cannot be told
        return self

    @property
    def ways(self) -> list[Source]:
        """The sources, in the order in which they are tried."""
        return [self.source] if self.source is not None else list(self.sources or [])

    @property
    def reader_name(self) -> str:
        """The reader that was named, or else the one that goes with the first source."""
        return self.reader or _usual_reader(self.ways[0])


def _usual_reader(source: Source) -> str:
    match source:
        case GutenbergSource():
            return "gutenberg"
        case HubSource():
            return "text" if "text" in source.columns else "idx" if "image" in source.columns else "messages"
        case SyntheticSource():
            return {"random_tokens": "text", "tones": "idx"}.get(source.task, "messages")
    name = source.path if isinstance(source, FileSource) else source.files if isinstance(source, FolderSource) else ""
    known = _BY_ENDING.get(PurePath(name).suffix.lower())
    if known is None:
        raise Inconsistent("is missing; what the source delivers does not tell how to read it", key="reader")
    return known


class CharacterTokens(Settings):
    """One token per character that the training split holds; one more for all others."""

    kind: Literal["characters"]


class ByteTokens(Settings):
    """One token per byte of UTF-8."""

    kind: Literal["bytes"]


class BytePairTokens(Settings):
    """Byte-level byte-pair encoding, trained on the training split."""

    kind: Literal["byte_pairs"]
    vocabulary: int = Field(ge=257, le=1 << 20, strict=True, description="tokens, the 256 bytes among them")
    training_bytes: PositiveInt = Field(default=100_000_000, description="of the training split, from its start")


class VocabularyTokens(Settings):
    """The longest match in a list of strings, a user's `vocab.json`; with `merges`, byte-level byte pairs."""

    kind: Literal["vocabulary"]
    path: Text
    merges: Text | None = None


class TokenizerFile(Settings):
    """A `tokenizer.json` of the library `tokenizers`."""

    kind: Literal["tokenizer_file"]
    path: Text


TokenSettings = CharacterTokens | ByteTokens | BytePairTokens | VocabularyTokens | TokenizerFile


def token_files(settings: TokenSettings) -> list[str]:
    """The user's files a tokenizer is read from, as the configuration names them."""
    match settings:
        case VocabularyTokens():
            return [settings.path, *([settings.merges] if settings.merges else [])]
        case TokenizerFile():
            return [settings.path]
    return []


class Tokenization(Settings):
    """A file of `config/tokenizers/`: how text becomes tokens."""

    summary: Text
    tokens: Annotated[TokenSettings, Field(discriminator="kind")]
