"""``edgekit verify``: bundle -> hashes and signature checked, golden vectors replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit verify dist/digits-cnn-1.0.0",
    "edgekit verify dist/digits-cnn-1.0.0.tar --key public.pem",
    "edgekit verify dist/digits-cnn-1.0.0 --target litert-cpu",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.VERIFICATION_FAILED,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    bundle: Annotated[
        Path, typer.Argument(help="The folder or the .tar that `release` wrote.", show_default=False)
    ],
    target: flags.Targets = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="PUBLIC.pem", help="Public key of who must have signed it; else exit 8."
        ),
    ] = None,
    identity: Annotated[
        str,
        typer.Option("--identity", help="Who must have signed it with sigstore, as an address or a CI job."),
    ] = "",
    identity_provider: Annotated[
        str,
        typer.Option("--identity-provider", metavar="URL", help="The OpenID Connect provider that says so."),
    ] = "",
) -> ExitCode:
    """Hash every file of a bundle again and replay its golden vectors on every runtime that is here.

    Without --key or --identity this finds corruption, and no forgery: who rewrites all files can rewrite all
    hashes.
    """
    with console.working() as progress:
        from edgekit.pipeline import signing, verify

        origin = signing.origin(key, identity, identity_provider)
        result = verify.verify(bundle, targets=tuple(target or ()), progress=progress, origin=origin)
    return console.show(result)
