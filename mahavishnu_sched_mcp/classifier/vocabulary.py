"""The words that say something about a task.

In a pattern words stand apart; `a+b` needs both, `!a` this very form instead of any.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Cue(NamedTuple):
    """Words that speak for one value of one characteristic.

    Attributes:
        reading: How the words are read, for the reasons.
        pattern: Any of its words suffices.
        yields_to: `light`: not counted where the task only looks at something or tidies up;
            `near`: nor where it works on a thing of this process.
    """

    characteristic: str
    value: str | bool
    reading: str
    pattern: str
    yields_to: Literal["nothing", "light", "near"] = "nothing"


LIGHT = """health heartbeat ping metric poll probe check verify monitor liveness readiness sample
    gauge uptime telemetry watchdog keepalive keep+alive !stats statistics status cleanup clean+up
    warm tick flush refresh reload remind reminder sweep+session sweep+expired"""
"""The task looks at something or tidies up, so what it does that to says little about it."""

LIGHT_FOR_SURE = "heartbeat ping metric poll probe liveness readiness keepalive uptime health"
"""Words of the above that are seldom said of other work."""

NEAR = "cache session temp tmp temporary token memory connection counter inbox !local in+process"
"""Things of this process or close to it."""

PEOPLE = "work that people meet"
UI = "work that people follow in a UI"
STATES = "work whose states are tracked"
CHORE = "an infrastructure chore"
SPREAD = "work spread over several machines"
LASTING = "work that must outlive the process"
PRECIOUS = "work that must not be lost"
UNDERTAKING = "a complex undertaking"

CUES: tuple[Cue, ...] = (
    Cue("visibility", "internal", "internal work", "internal housekeeping private"),
    Cue(
        "visibility",
        "user-facing",
        PEOPLE,
        """report newsletter digest customer stakeholder subscriber executive onboarding people
        human visitor user+facing customer+facing publish announce announcement send+email
        welcome+email email+summary management audience tell+team share+team""",
    ),
    Cue("visibility", "user-facing", PEOPLE, "user email client", "near"),
    Cue(
        "requires_ui",
        value=True,
        reading=UI,
        pattern="""dashboard ui gui approve approval interactive visualise visualize visualisation
        chart review sign+off manually web+page""",
    ),
    Cue(
        "requires_observability",
        value=True,
        reading=STATES,
        pattern="""observability observable lineage track+state progress+track state+history
        progress+visible progress+watch progress+follow audit+trail trace+step""",
    ),
    Cue(
        "multi_repo",
        value=True,
        reading="several repositories",
        pattern="""!repos !repositories multi+repo cross+repo multi+repository cross+repository
        organisation+wide organization+wide""",
    ),
    Cue(
        "complexity",
        "dag",
        "a DAG of steps",
        "dag multi+step multi+stage several+step several+stage depend+step depend+stage fan+out",
    ),
    Cue(
        "complexity",
        "dag",
        "a DAG of steps",
        "pipeline workflow etl elt orchestrate orchestration",
        "light",
    ),
    Cue(
        "complexity",
        "complex",
        UNDERTAKING,
        """deploy deployment release rollout canary train retrain training complex refactor codemod
        codebase sweep+code sweep+quality sweep+security sweep+dependency experiment backtest
        simulate simulation benchmark model+evaluate fine+tune hyperparameter dependency+update
        pull+request""",
        "light",
    ),
    Cue(
        "infrastructure",
        "distributed",
        CHORE,
        """backup back+up rotate rotation snapshot replicate replication mirror sync synchronise
        synchronize archive vacuum reindex compaction migrate migration provision patch renew
        renewal failover rebalance reshard offload dump restore defragment disaster+recovery""",
        "light",
    ),
    Cue(
        "infrastructure",
        "distributed",
        SPREAD,
        """distributed multi+node kubernetes fleet across+machine across+server across+host
        across+node several+machine many+machine several+server several+worker many+worker
        across+worker remote+worker worker+pool other+machine another+machine""",
    ),
    Cue(
        "durability",
        "persistent",
        LASTING,
        """persist persistent durable durably survive guarantee guaranteed reliably lost lose
        crash+resume restart+resume outlive resumable""",
    ),
    Cue(
        "durability",
        "persistent",
        PRECIOUS,
        """payment billing charge order transaction invoice webhook ingest ingestion import export
        batch bulk crawl transcode enqueue !queued retry encode settle settlement payroll upload
        long+running event+process message+process""",
        "light",
    ),
    Cue(
        "frequency",
        "high",
        "something frequent",
        "heartbeat ping liveness keepalive realtime constantly continuously frequently minutely",
    ),
    Cue("frequency", "medium", "something up to daily", "hourly daily nightly midnight overnight"),
    Cue(
        "frequency",
        "low",
        "something rare",
        "weekly fortnightly monthly quarterly yearly annual annually occasionally rarely",
    ),
)

FILLERS = """a an the of in on at to for and or it its all every each some old new last day night
    week hour minute second month year repo repository branch main data database file log disk
    service server host staging production code key secret certificate image queue message job task
    run index team build test page"""
"""Words that say nothing, but are part of compounds."""

PERIODS = {"minutely": 60, "hourly": 3600}
"""Words that name a period, in seconds."""

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
"""Units that a period is counted in ('every 5 minutes'), in seconds."""

CALENDAR = {
    "daily": "0 2 * * *",
    "nightly": "0 2 * * *",
    "overnight": "0 2 * * *",
    "midnight": "0 0 * * *",
    "weekly": "0 2 * * 1",
    "monthly": "0 2 1 * *",
    "quarterly": "0 2 1 1,4,7,10 *",
    "yearly": "0 2 1 1 *",
    "annually": "0 2 1 1 *",
}
"""Words that name a time of the calendar, as the cron expression that is proposed for them."""

EVERY_WORDS = frozenset({"every", "each"})

EVERY = {"day": "daily", "night": "nightly", "week": "weekly", "month": "monthly", "year": "yearly"}
"""Words that are such a time after 'every'."""
