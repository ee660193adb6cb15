"""The command line: `nnn-bench VERB`. The verbs are in `commands/`, and import what is heavy when they are called.

Exit codes: 0 done, 1 the answer is no, 2 bad input (one line says what and how to mend it), 75 somebody else holds the run,
143 stopped after a checkpoint.
"""

from __future__ import annotations

import sys

import typer

from nnn_bench.commands import (
    audits,
    conversion,
    data,
    generation,
    packing,
    planning,
    speed,
    tokenizers,
    tracking,
    work,
)
from nnn_bench.config.errors import RunBusy, Terminated, UserError
from nnn_bench.config.terminal import ERROR_PREFIX, EXIT_BAD_INPUT, EXIT_BUSY, EXIT_TERMINATED

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train unconventional small networks beside one honest GPT-2, under equal budgets, and say what holds.",
)
data_app = typer.Typer(no_args_is_help=True, help="Fetch, clean, split and tokenize data sets.")
track_app = typer.Typer(no_args_is_help=True, help="The MLflow mirror of the runs.")
app.add_typer(data_app, name="data")
app.add_typer(track_app, name="track")

# in the order of --help
app.command()(work.run)
app.command("list")(work.list_entries)
app.command()(planning.plan)
app.command(hidden=True)(planning.trials)
app.command(hidden=True)(planning.rate)
app.command()(work.train)
app.command()(work.ladder)
app.command()(audits.audit)
app.command(hidden=True)(audits.gate)
app.command()(speed.speed)
app.command(hidden=True)(speed.measure)
app.command()(work.compare)
app.command()(work.report)
app.command()(packing.pack)
app.command()(generation.generate)
app.command()(tracking.ui)
data_app.command("list")(data.data_list)
data_app.command("fetch")(data.data_fetch)
data_app.command("check")(data.data_check)
data_app.command("prepare")(data.data_prepare)
data_app.command("convert")(conversion.data_convert)
data_app.command("tokenizer")(tokenizers.data_tokenizer)
track_app.command("init")(tracking.track_init)
track_app.command("publish")(tracking.track_publish)
track_app.command("rebuild")(tracking.track_rebuild)


def main() -> None:
    """Entry point: every foreseen trouble is one line and an exit code."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _stop(str(error), EXIT_BAD_INPUT)
    except RunBusy as error:
        _stop(str(error), EXIT_BUSY)
    except Terminated as error:
        _stop(str(error), EXIT_TERMINATED)
    except (KeyboardInterrupt, typer.Abort):
        _stop("stopped", 130)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # a misspelt verb or option
        if usage is not None:
            _stop(f"{usage()} See nnn-bench --help.", EXIT_BAD_INPUT)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> None:
    print(f"{ERROR_PREFIX}{message}", file=sys.stderr)
    sys.exit(code)
