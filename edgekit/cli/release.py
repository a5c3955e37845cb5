"""``edgekit release``: edgekit.toml -> a proved bundle in dist/."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

if TYPE_CHECKING:
    from edgekit.pipeline.result import ReleaseResult

EXAMPLES = (
    "edgekit release",
    "edgekit release model/edgekit.toml -o dist/ --target onnxruntime-cpu --report html:report.html",
    "edgekit release --sign-key key.pem",
    "edgekit release --dry-run",
)
EXIT_CODES = tuple(ExitCode)  # VERIFICATION_FAILED: evidence of other files, or damaged


class SignMethod(Enum):
    """How a bundle is signed without a key file."""

    SIGSTORE = "sigstore"


def run(
    console: Console,
    *,
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="edgekit.toml, or the folder that holds it.")
    ] = Path("edgekit.toml"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the bundle <name>-<version>/.")] = Path(
        "dist"
    ),
    target: flags.Targets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything, write no bundle and no lock.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Choose again instead of following edgekit.lock.")
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor keep intermediate results.")
    ] = False,
    sign_key: Annotated[
        Path | None,
        typer.Option(
            "--sign-key",
            metavar="KEY.pem",
            help="Sign the bundle with this private key (or with that of EDGEKIT_SIGN_KEY).",
        ),
    ] = None,
    sign: Annotated[
        SignMethod | None, typer.Option("--sign", help="Sign the bundle with the identity that runs this.")
    ] = None,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(
            "--evidence",
            metavar="FILE",
            help="Choose by what a device measured (`edgekit bench BUNDLE --device D --evidence FILE`); "
            "one file for each target.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PUBLIC.pem", help="Public key of who must have signed the evidence."),
    ] = None,
    cache_dir: flags.CacheDir = None,
    allow_fallback: flags.AllowFallback = False,
    report: flags.Reports = None,
) -> ExitCode:
    """Run a recipe's whole job: export, calibrate, quantize, compile, prove, choose, and write the bundle.

    Every target gets the fastest artifact that is proved to stay inside the budgets. The bundle holds
    artifacts, manifest, golden vectors and reports (json, markdown, html); its archives and its root digest
    lie beside it. Where a gate fails, nothing is written. A target whose device is not here ships all that
    may be chosen there, and --evidence chooses.
    """
    reports = parse_reports(report or (), verb="release")
    with console.working() as progress:
        from edgekit.pipeline import signing
        from edgekit.pipeline.release import run as pipeline

        signer = signing.signer(sign_key, sign.value if sign else None)
        result = pipeline.release(
            recipe,
            out=out,
            targets=tuple(target or ()),
            update=update,
            dry_run=dry_run,
            use_cache=not no_cache,
            cache_dir=cache_dir,
            progress=progress,
            render=_render,
            signer=signer,
            evidence=tuple(evidence or ()),
            evidence_origin=signing.origin(key),
            allow_fallback=allow_fallback,
        )
    return console.show(result, reports=reports)


def _render(result: ReleaseResult) -> Mapping[str, bytes]:
    from edgekit.report import render_release

    return render_release(result)
