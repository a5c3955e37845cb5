"""evidence.json: what one machine measured of a bundle, sealed with its own digest.

It is outside the reproducible set, and so are the files it lists: latencies and times differ from run to run,
and golden outputs differ in the last bits between classes of CPU (another instruction set, another order of
summation). It names the manifest and the artifacts it is about by digest, so that it cannot be mistaken for
evidence of another bundle.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.bundle.facts import Closed, Sha256
from edgekit.bundle.manifest import FileEntry, Name

FILE_NAME = "evidence.json"
REPORTS = "report"


class MachineFacts(Closed):
    """The machine that measured.

    Attributes:
        key: digest of its stable facts; what measurements are cached by.
        facts: in words.
    """

    key: str
    facts: dict[str, str] = Field(default_factory=dict)


class LatencyFacts(Closed):
    """Steady-state latency in milliseconds.

    Attributes:
        low_ms: lower end of the median's interval.
        high_ms: upper end.
        stable: whether the measurement was quiet enough to be believed.
        warning: why not.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    low_ms: float
    high_ms: float
    runs: int
    stable: bool
    warning: str = ""


class RatioFacts(Closed):
    """Median latency divided by that of the float variant, with its interval."""

    value: float
    low: float
    high: float


class AccuracyFacts(Closed):
    """The task metric, paired with the float reference; the drop in ``unit``, positive = worse."""

    metric: str
    reference: float
    candidate: float
    drop: float
    low: float
    high: float
    unit: str
    method: str
    samples: int


class GateFacts(Closed):
    """One line of the budget: what was measured against which limit, and what was decided.

    Attributes:
        name: of the gate (docs/gates.md).
        status: "waived" passes although the limit is missed.
        measured: in words, with unit and interval.
        limit: in words.
        reason: why the status is what it is.
    """

    name: str
    status: Literal["pass", "fail", "inconclusive", "not_measured", "waived"]
    measured: str
    limit: str
    reason: str = ""


class DriftFacts(Closed):
    """How far one output is from the float reference's, over so many samples.

    Attributes:
        cosine: None where one of the two is all zero.
        sqnr_db: None where nothing differs, or the reference is all zero.
    """

    output: str
    max_abs: float
    cosine: float | None = None
    sqnr_db: float | None = None
    max_steps: float | None = None
    samples: int = 0


class Measurement(Closed):
    """What was measured of one shipped artifact.

    Attributes:
        target: its target.
        artifact_sha256: hash of its main file.
        status: of the verdict.
        runtime: what really ran, as "onnxruntime 1.31.1, CPUExecutionProvider".
        not_run: why it could not run here; "" where it did.
        gates: the verdict, gate by gate.
        drift: one for each output.
        memory_bytes: peak while it ran, less what was held before it was loaded.
        coverage: part of the multiply-accumulates that ran as asked, 0 to 1.
    """

    target: Name
    artifact_sha256: Sha256
    status: str
    runtime: str = ""
    not_run: str = ""
    latency: LatencyFacts | None = None
    float_latency: LatencyFacts | None = None
    ratio: RatioFacts | None = None
    accuracy: AccuracyFacts | None = None
    gates: tuple[GateFacts, ...] = ()
    drift: tuple[DriftFacts, ...] = ()
    memory_bytes: int | None = None
    coverage: float | None = None


class GoldenOutputs(Closed):
    """What this machine's runtime gave for golden/inputs.npz.

    Attributes:
        target: of the artifact that ran.
        file: its arrays by reference output name.
        ran: what the session said of itself: runtime, version, device, kernels.
        label: of a candidate that does not ship; "" = of what ships.
    """

    target: Name
    file: FileEntry
    ran: dict[str, str] = Field(default_factory=dict)
    label: str = ""


class Evidence(Closed):
    """What one machine measured.

    Attributes:
        manifest_digest: ``digest`` of the manifest that it belongs to.
        created: ISO 8601 time.
        seconds: how long each stage took.
        golden: recorded outputs by target.
        reports: files below report/.
        digest: SHA-256 of this document's canonical text without this field.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    manifest_digest: Sha256
    created: str
    machine: MachineFacts
    seconds: dict[str, float] = Field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    golden: tuple[GoldenOutputs, ...] = ()
    reports: tuple[FileEntry, ...] = ()
    digest: str = ""

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file that this document vouches for."""
        return (*(entry.file for entry in self.golden), *self.reports)
