"""The report as JSON: the findings, and the evidence test by test."""

from __future__ import annotations

import json

import attrs
import cattrs

from actorq.testing.report.evidence import Evidence
from actorq.testing.report.findings import findings


def to_json(evidence: Evidence) -> str:
    """What the other forms say in words, and every test besides."""
    found = findings(evidence)
    said = {
        "setting": evidence.setting,
        "seconds": evidence.seconds,
        "exit_status": evidence.exit_status,
        "promises": found.rows,
        "total": found.total,
        "mutants": found.mutants,
        "untested": dict(found.untested),
        "uncollected": evidence.uncollected,
        "deselected": evidence.deselected,
        "unrun": evidence.unrun,
        "tests": [attrs.evolve(run, seconds=round(run.seconds, 3)) for run in evidence.runs],
    }
    return json.dumps(cattrs.unstructure(said), indent=2) + "\n"
