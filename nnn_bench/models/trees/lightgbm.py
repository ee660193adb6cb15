"""Boosted trees on lagged characters: no network, no gradient, and outside every equality of parameters or operations.

x_t = (token_t, token_{t-1}, .., token_{t-l+1})             l `lags` categories, missing where the window does not reach
F(x) = sum_{r <= rounds} rate tree_{r, v}(x), for each v    a tree for each symbol of the vocabulary and each round
p = softmax F(x);  logits = log((1 - e) p + e / V)          e = 1e-6: a symbol that no tree ever saw keeps a finite loss

Trees are grown leaf by leaf on the gradient of the cross-entropy, on the text that any run may see and on nothing else.
Source: language-interpolation (its LightGBM example: 128 lags, 100 leaves, depth 32, 100 rounds, rate 0.1, on one book, scored on
the book it was fitted to; its samples were drawn from a softmax of probabilities, nearly uniform, which is the garbage it shows).
Departures: p is used as it is; lags, rounds and leaves are fewer where two cores have to do; lags stay within the context that
all have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops
from nnn_bench.models.language_model import LanguageModel

if TYPE_CHECKING:
    from lightgbm import Booster

    from nnn_bench.models.build import Builder

_FLOOR = 1e-6


class Options(Settings):
    """`rows` positions of the text are drawn to be fitted, all of them where it is left out."""

    lags: PositiveInt
    rounds: PositiveInt
    leaves: Annotated[int, Field(ge=2, le=4096, strict=True)] = 100
    depth: PositiveInt = 32
    rows: PositiveInt | None = None


class Ring(NamedTuple):
    """The last tokens of each sequence, newest first, `(B, lags)`; -1 where there is none."""

    tokens: Tensor


class LaggedTrees(LanguageModel):
    """Answers once it has been fitted; what was fitted is `text`, in the library's own format."""

    differentiable = False

    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__()
        self.vocabulary, self.context, self.options = vocabulary, context, options
        self.lags = min(options.lags, context)
        self.text: str | None = None
        self._booster: Booster | None = None

    def fit(
        self,
        tokens: NDArray[np.integer],
        *,
        rate: float,
        seed: int,
        threads: int,
        validation: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
        tell: Callable[[int, float, float | None], None] = lambda rounds, loss, validation_loss: None,
    ) -> None:
        """Fit to `tokens (N,)`. `tell` hears, after each round, the loss on what is fitted and on `validation`: features
        `(M, lags)` and targets `(M,)`, which decide nothing."""
        import lightgbm

        features, targets = lagged(tokens, self.lags)
        rows = self.options.rows
        if rows is not None and rows < len(targets):
            chosen = np.sort(np.random.Generator(np.random.PCG64(seed)).choice(len(targets), rows, replace=False))
            features, targets = features[chosen], targets[chosen]
        kind: dict[str, Any] = {"categorical_feature": list(range(self.lags)), "params": {"verbosity": -1}}
        fitted = lightgbm.Dataset(features, targets, **kind)
        shown, names = [fitted], ["fitted"]
        if validation is not None:
            shown.append(fitted.create_valid(*validation))
            names.append("validation")

        def hear(environment: Any) -> None:
            losses = {name: loss for name, _, loss, *_ in environment.evaluation_result_list}
            tell(environment.iteration + 1, losses["fitted"], losses.get("validation"))

        booster = lightgbm.train(
            {
                "objective": "multiclass",
                "num_class": self.vocabulary,
                "metric": "multi_logloss",
                "num_leaves": self.options.leaves,
                "max_depth": self.options.depth,
                "learning_rate": rate,
                "num_threads": threads,
                "seed": seed,
                "deterministic": True,
                "force_col_wise": True,
                "verbosity": -1,
            },
            fitted,
            num_boost_round=self.options.rounds,
            valid_sets=shown,
            valid_names=names,
            callbacks=[hear],
        )
        self.restore(booster.model_to_string())

    def restore(self, text: str) -> None:
        """Take what another one was fitted to. The text must be whole: the library ends the process over half of one."""
        import lightgbm

        self.text, self._booster = text, lightgbm.Booster(model_str=text)

    def __deepcopy__(self, memo: dict[int, Any]) -> LaggedTrees:
        twin = LaggedTrees(self.options, None, self.vocabulary, self.context)  # type: ignore[arg-type]
        twin.train(self.training)
        if self.text is not None:
            twin.restore(self.text)
        return twin

    def forward(self, tokens: Tensor) -> Tensor:
        longer = torch.cat([tokens.new_full((len(tokens), self.lags - 1), -1), tokens], dim=1)
        return self._logits(longer.unfold(1, self.lags, 1).flip(-1)).to(tokens.device)  # (B, T, lags), newest first

    def initial_state(self, batch: int) -> Ring:
        return Ring(torch.full((batch, self.lags), -1, dtype=torch.long))

    def step(self, token: Tensor, state: Ring) -> tuple[Tensor, Ring]:
        tokens = torch.cat([token.unsqueeze(1).to(state.tokens), state.tokens[:, :-1]], dim=1)
        return self._logits(tokens).to(token.device), Ring(tokens)

    def _logits(self, lags: Tensor) -> Tensor:
        """`(..., lags)` to `(..., V)`, float64."""
        if self._booster is None:
            raise RuntimeError("trees answer nothing before they are fitted")
        rows = _categories(lags.flatten(0, -2).cpu().numpy())
        shares = np.asarray(self._booster.predict(rows, num_threads=torch.get_num_threads()))
        return torch.from_numpy(np.log((1 - _FLOOR) * shares + _FLOOR / self.vocabulary)).unflatten(0, lags.shape[:-1])

    def visible(self, context: int) -> Tensor:
        distance = torch.arange(context).unsqueeze(1) - torch.arange(context)
        return (distance >= 0) & (distance < self.lags)

    def trees_and_leaves(self) -> tuple[int, int]:
        """How many trees there are, and how many leaves they have together."""
        assert self.text is not None
        lines = self.text.splitlines()
        leaves = [int(line.removeprefix("num_leaves=")) for line in lines if line.startswith("num_leaves=")]
        return len(leaves), sum(leaves)

    def window_flops(self, context: int) -> Flops:
        return Flops()  # a path of comparisons through each tree: nothing that could be matched


def lagged(tokens: NDArray[np.integer], lags: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features `(N - 1, lags)`, newest first, and targets `(N - 1,)` of a text `(N,)`; missing before its beginning."""
    longer = np.concatenate([np.full(lags - 1, -1, dtype=np.int64), np.asarray(tokens, dtype=np.int64)])
    windows = np.lib.stride_tricks.sliding_window_view(longer[:-1], lags)[:, ::-1]
    return _categories(windows), longer[lags:]


def _categories(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Tokens as the library wants categories: floats, those that are not there no numbers."""
    categories = tokens.astype(np.float32)
    categories[categories < 0] = np.nan
    return categories


Part = LaggedTrees
