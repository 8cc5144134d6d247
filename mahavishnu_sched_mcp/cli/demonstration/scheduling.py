"""The first part: choosing an engine, and putting work on all three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mahavishnu_sched_mcp.cli.demonstration.scene import NIGHTLY, PULSE, WATCHED, expect
from mahavishnu_sched_mcp.cli.demonstration.stage import WORKFLOW

if TYPE_CHECKING:
    from mahavishnu_sched_mcp.cli.demonstration.scene import Scene
    from mahavishnu_sched_mcp.domain.value import JsonObject

_PROMISED = {
    "schedule_internal_task",
    "enqueue_workflow",
    "schedule_deployment",
    "classify_task",
    "list_jobs",
}
_QUESTIONS: tuple[tuple[str, str, str, JsonObject], ...] = (
    (
        "apscheduler",
        "schedule_internal_task",
        "look after the server every second",
        {"task_name": "health_check", "interval_seconds": 1},
    ),
    (
        "oneiric",
        "enqueue_workflow",
        "a backup that has to outlive this server",
        {
            "task_name": WORKFLOW,
            "characteristics": {"complexity": "simple", "infrastructure": "distributed"},
        },
    ),
    (
        "prefect",
        "schedule_deployment",
        "a backup whose runs the team follows in a UI",
        {"task_name": WORKFLOW, "description": "the team follows each run in a UI"},
    ),
)
_FIVE = 5
_NIGHTLY = {"type": "cron", "expression": "0 2 * * 1-5", "timezone": "Europe/Paris"}


async def start_server(scene: Scene) -> str:
    """Start the server as an editor does, and ask how it is."""
    scene.audience.wait("starting the server")
    await scene.client.connect()
    names = await scene.client.tool_names()
    expect(set(names) >= _PROMISED, f"{sorted(_PROMISED)} are among the tools {names}")
    status = await scene.call("get_status")
    expect(status["leader"]["is_this_process"], "the server leads its data dir")
    states = {name: engine["state"] for name, engine in status["engines"].items()}
    expect(states.get("prefect") == "idle", f"Prefect waits for its first need: {states}")
    expect(set(states) == {"apscheduler", "oneiric", "prefect"}, f"three engines: {states}")
    engines = ", ".join(f"{name} {state}" for name, state in states.items())
    return f"{len(names)} tools; engines: {engines}"


async def classify_three(scene: Scene) -> str:
    """Ask which engine suits three pieces of work."""
    for engine, tool, words, question in _QUESTIONS:
        answer = await scene.call("classify_task", **question)
        expect(answer["backend"] == engine, f"'{words}' goes to {engine}: {answer}")
        expect(answer["next_call"]["tool"] == tool, f"the next call is {tool}: {answer}")
        rule = next(reason for reason in answer["reasons"] if reason.startswith("rule"))
        scene.audience.say(f"{words}: {engine} ({rule})")
    return "one piece of work for each engine"


async def deploy_workflow(scene: Scene) -> str:
    """Deploy a workflow on Prefect, which starts its server in the background."""
    began = scene.clock.monotonic()
    made = await scene.call(
        "schedule_deployment",
        flow_name=WORKFLOW,
        name=WATCHED.partition(":")[2],
        schedule_config={"interval_seconds": 5},
        parameters={"archive": "watched"},
        tags=["demo"],
    )
    seconds = scene.clock.monotonic() - began
    job = made["job"]
    expect(job["job_id"] == WATCHED, f"the job is {WATCHED}: {job}")
    expect(job["state"] in {"pending", "active"}, f"the job was accepted: {job}")
    for warning in made["warnings"]:
        scene.audience.say(warning)
    return f"{WATCHED} every 5 s: {job['state']}, answered after {seconds:.1f} s"


async def run_five_times(scene: Scene) -> str:
    """Schedule an internal task every second and see it run."""
    made = await scene.call(
        "schedule_internal_task",
        task="health_check",
        trigger={"type": "interval", "seconds": 1},
        id=PULSE.partition(":")[2],
        tags=["demo"],
    )
    expect(made["outcome"] == "created", f"the job is new: {made}")

    async def look() -> list[JsonObject] | None:
        found = await scene.runs(job_id=PULSE, state="succeeded")
        scene.audience.wait(f"waiting for five runs: {len(found)} so far")
        return found if len(found) >= _FIVE else None

    runs = await scene.until("five runs", look, seconds=30)
    for run in reversed(runs[-_FIVE:]):
        scene.audience.say(
            f"{run['scheduled_for']} {run['state']}, {run['lateness_ms']} ms late,"
            f" took {run['duration_ms']} ms"
        )
    return f"{PULSE} ran {_FIVE} times"


async def run_workflow(scene: Scene) -> str:
    """Send a workflow of two nodes through the embedded queue, once."""
    call: dict[str, Any] = {
        "workflow_key": WORKFLOW,
        "context": {"archive": "now"},
        "idempotency_key": "the-demonstration",
    }
    made = await scene.call("enqueue_workflow", **call)
    scene.audience.wait("waiting for the workflow to end")
    run = await scene.call("get_run", run_id=made["run_id"], wait_seconds=30)
    expect(run["state"] == "succeeded", f"the workflow succeeded: {run}")
    nodes = {node["node"]: node["state"] for node in run["nodes"]}
    expect(nodes == dict.fromkeys(("pack", "verify"), "succeeded"), f"both nodes ran: {nodes}")
    size = scene.stage.archive("now").stat().st_size
    expect("index.html" in run["output"]["text"], f"the archive holds the website: {run}")

    again = await scene.call("enqueue_workflow", **call)
    expect(again["outcome"] == "existed", f"asking twice makes one job: {again}")
    scene.audience.say(f"nodes: {', '.join(f'{name} {state}' for name, state in nodes.items())}")
    scene.audience.say("the same call again: existed, nothing was done twice")
    return f"a real archive of {size} bytes, made and verified"


async def preview_nights(scene: Scene) -> str:
    """See when a schedule would fire, then schedule just that."""
    preview = await scene.call("preview_schedule", trigger=_NIGHTLY, count=3)
    scene.audience.say(f"{preview['in_words']}: {', '.join(preview['fires'])}")
    made = await scene.call(
        "enqueue_workflow",
        workflow_key=WORKFLOW,
        context={"archive": "nightly"},
        trigger=_NIGHTLY,
        id=NIGHTLY.partition(":")[2],
        tags=["demo"],
    )
    expect(made["job"]["job_id"] == NIGHTLY, f"the job is {NIGHTLY}: {made}")
    expect(made["next_fires"] == preview["fires"], f"the fires are those previewed: {made}")
    return f"{NIGHTLY}: {preview['in_words']}"
