"""``edgekit package``: bundle -> what an app's build takes in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit package dist/digits-cnn-1.0.0 --for python",
    "edgekit package dist/digits-cnn-1.0.0 --for web --for c -o packages/",
    "edgekit package dist/digits-cnn-1.0.0 --for python --target litert-cpu --name digits",
    "edgekit package dist/digits-cnn-1.0.0 --for ios --recipe edgekit.toml --coreml fp16",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.TARGET_REFUSES,
    ExitCode.BACKEND_MISSING,
    ExitCode.VERIFICATION_FAILED,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    bundle: Annotated[Path, typer.Argument(help="The folder that `release` wrote.", show_default=False)],
    kinds: Annotated[
        list[str],
        typer.Option(
            "--for",
            metavar="KIND",
            help="python, c, web, ort-mobile, android or ios (docs/packages.md); repeatable.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for <name>-<version>-<kind>/; beside the bundle by default."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            metavar="NAME",
            help="The bundle's artifact that goes in; by default the one that suits; repeatable.",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            "--name", help="The package's own name (import name, npm name, C prefix); the model's by default."
        ),
    ] = "",
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            help="For ios: the recipe that the bundle was released from; its source becomes a .mlpackage.",
            show_default=False,
        ),
    ] = None,
    coreml: Annotated[
        str,
        typer.Option(
            "--coreml",
            metavar="PRECISION",
            help="For ios: auto, none, fp16, fp32 or int8 (docs/packages-mobile.md).",
        ),
    ] = "auto",
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="PUBLIC.pem", help="Public key of who must have signed the bundle; else exit 8."
        ),
    ] = None,
    identity: Annotated[str, typer.Option("--identity", help="Who must have signed it with sigstore.")] = "",
    identity_provider: Annotated[
        str,
        typer.Option("--identity-provider", metavar="URL", help="The OpenID Connect provider that says so."),
    ] = "",
) -> ExitCode:
    """Make packages of a bundle: a wheel, a C header, an ES module, `.ort` files, an AAR, a Swift package.

    Each holds the artifact, its specification and golden vectors with which it tests itself. A bundle whose
    artifacts a kind cannot hold is refused with the reason for each.
    """
    with console.working() as progress:
        from edgekit.pipeline import package, signing

        wish = package.wish(coreml)
        wanted = tuple(
            package.Wanted(kind, tuple(target or ()), name, recipe=recipe, coreml=wish) for kind in kinds
        )
        result = package.package(
            bundle,
            wanted=wanted,
            out=out,
            origin=signing.origin(key, identity, identity_provider),
            progress=progress,
        )
    return console.show(result)
