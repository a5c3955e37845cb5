"""``edgekit verify``: bundle -> hashes and signature checked, golden vectors replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import device_flags, flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit verify dist/digits-cnn-1.0.0",
    "edgekit verify dist/digits-cnn-1.0.0.tar --key public.pem",
    "edgekit verify dist/digits-cnn-1.0.0 --target litert-cpu",
    "edgekit verify dist/digits-cnn-1.0.0 --device ssh://pi@pi5.local --python /opt/bench/bin/python",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.INCONCLUSIVE,
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
    device: device_flags.Device = None,
    devices: device_flags.Devices = None,
    python: device_flags.Python = None,
    install: device_flags.Install = False,
    ssh_option: device_flags.SshOptions = None,
    timeout: device_flags.Timeout = None,
) -> ExitCode:
    """Hash every file of a bundle again and replay its golden vectors on every runtime that is here.

    With --device they are replayed there. Either way what ran must be what the artifact asks for: a
    runtime that fell back in silence fails.

    Without --key or --identity this finds corruption, and no forgery: who rewrites all files can rewrite all
    hashes.
    """
    named = None
    if device:
        named = device_flags.named(
            device,
            devices=devices,
            python=python,
            install=install,
            ssh_options=ssh_option,
            timeout_s=timeout,
        )
    with console.working() as progress:
        from edgekit.pipeline import signing, verify

        origin = signing.origin(key, identity, identity_provider)
        result = verify.verify(
            bundle, targets=tuple(target or ()), progress=progress, origin=origin, device=named
        )
    return console.show(result)
