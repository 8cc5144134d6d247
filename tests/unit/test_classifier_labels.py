"""Names and sentences labelled by hand, against what the classifier reads out of them."""

from __future__ import annotations

from collections import Counter

import pytest

from mahavishnu_sched_mcp.classifier import classify
from mahavishnu_sched_mcp.domain.catalog import Catalog

APSCHEDULER = """
health_check | Check that the server and its engines are well
heartbeat | Send a sign of life every 10 seconds
metrics_collection | Collect counters and memory figures once a minute
cache_cleanup | Remove expired entries from the cache
git_polling | Look for new commits on main
dlq_processing | Look at the dead letters every five minutes
ping-staging | Ping the staging host
warmCache | Warm the lookup cache after a restart
refresh_token | Refresh the access token before it expires
flush_log_buffer | Flush the log buffer to disk
temp_file_cleanup | Delete temporary files older than a day
checkDiskSpace | Warn when the disk is nearly full
remind_me | Remind me to stand up
poll_inbox | Poll the inbox for new mail
session_expiry | Drop user sessions that have expired
memory_sampler | Sample the memory use of the process
liveness-probe | Probe the process every 5 seconds
reload_config | Reload the configuration when it has changed
queue_depth_gauge | Measure how deep the queue is
check_backup_freshness | Is the last backup younger than a day
deployment_status_poll | Poll the status of the deployment
connection_pool_check | Close idle connections
user_cache_refresh | Refresh the cached user records
uptime_monitor | Monitor the uptime of the site
tick | Advance the counter
secret_rotation_check | Are there secrets older than 90 days
count_open_files | Count the open files of this process
rate_limit_reset | Set the local rate limit counters to zero
check-pipeline-health | See whether the pipeline's last run is green
stats rollup | Add up the in-process statistics
print_time | Write the time to the log
disk_usage_alert | Log the free space on / every 10 minutes
token_refresh | Renew the OAuth access token every 50 minutes
cleanup_old_sessions | Delete expired sessions from memory hourly
update_exchange_rates | Fetch the latest exchange rates into the in-memory cache
git_poll | Poll the git remote for new commits
purge_tmp | Purge /tmp files older than 7 days
websocket_keepalive | Send keepalive frames
dns_check | Resolve a few hosts and log failures
process_dead_letters | Move dead letters back to the queue
gc | Run the garbage collector every 5 minutes
feature_flags | Reload feature flags every 30 seconds
lock_cleanup | Release stale locks
ssl_expiry_check | Check that certificates are valid for 14 more days
prometheus_scrape | Scrape the metrics endpoint
queue_monitor | Alert if the queue backs up
log_hello | Write hello into the log each minute
system_stats | Record CPU and RAM usage
dedupe_cache | Evict duplicates from the cache
watchdog | Restart the watcher if it hangs
lint_check | Check the working tree for lint errors
heartbeat | every 10s, internal, tells that we are alive
config-watcher | reload config if the file changes
expire_tokens | Drop expired tokens
collect_metrics | Collect metrics on users online
pingUsersService | Ping the users service
dashboard_data_cache_warmup | Warm up the cache
quick_task | a quick local thing
something |
update_last_seen | touch a timestamp
check_deploys | Check whether any deploy is stuck
"""

ONEIRIC = """
backup_repo | Bundle one repository
database_backup | Back up the database
nightly-backup | Make a copy of the data directory each night
rotateSecrets | Rotate the secrets of the services
log_rotation | Rotate and compress logs
certificate_renewal | Renew the TLS certificates
replicate_database | Replicate the database to the second site
archive_logs | Move old logs into the archive
schema_migration | Migrate the schema of the database
sync_bucket | Synchronise the bucket with the other region
vacuum_tables | Vacuum the tables of the database
snapshot_volumes | Take a snapshot of each volume
reindex_search | Rebuild the search index
process_payments | Settle the payments of the day
ingest_events | Take in events; none may be lost
transcode_video | Transcode uploaded videos
webhook_delivery | Deliver webhooks, with retries
bulk_import | Import the price lists
batch_resize | Resize images in a batch
distribute_load_test | Run it distributed, across machines
crunch_numbers | Must survive a restart of the server
key-rotation | Replace the signing keys each month
mirror_packages | Keep a mirror of the package index
pg_dump | Dump the database to a file
provision_servers | Provision new servers
render_frames | Spread the frames over several workers
durable_job | Persistent work that must not be lost
restore_drill | Restore the latest dump into a sandbox
patch_hosts | Patch the operating system of the hosts
export_orders | Export the orders of the day, no UI needed
offload-cold-data | Offload cold data to cheap disks
s3_backup | Copy the data folder to S3 nightly
rotate_api_keys | Rotate API keys every 90 days
postgres_dump | Dump the production database
index_documents | Index documents on a pool of workers
send_webhooks | Deliver webhooks at least once
batch_embeddings | Compute embeddings for a batch of documents
process_orders | Process incoming orders, must survive restarts
replicate_to_dr | Replicate to the disaster recovery site
image_processing | Resize images across many machines
compact_storage | Compact the storage engine files
credential_rotation | Rotate database credentials
sync_inventory | Sync inventory between warehouses
archive_old_records | Archive records older than two years
queue_emails | Queue outgoing mail durably
database_maintenance | Vacuum and analyze tables
volume_snapshot | Take volume snapshots
file_transfer | Transfer large files to another data center reliably
cert_renew | Renew certificates with ACME
clone_vm | Provision a virtual machine
repo_mirror | Mirror the repo to another host
system_update | Patch and upgrade system packages
log_shipping | Ship logs to cold storage with guaranteed delivery
bill_run | Charge the monthly subscriptions
weekly_backup | Backup everything weekly
backup |
secret_rotation |
cleanup_backups | Rotate out old backups
process_uploads | Process uploads in the background, must not be lost when the server crashes
distributed_crawl |
etcd_snapshot | Snapshot of etcd
nightly | Back up the repository every night
log-archival |
db_replication_job |
data_sync | Sync data between regions
sync_user_table | Sync the user table to the replica
email_queue | Durable delivery of mails
import_csv |
persist_state | Persist state across restarts
infrastructure_backup |
"""

PREFECT = """
code_sweep | Sweep the code for outdated calls
deploy_pipeline | Build, test and deploy
user_report | Write the report that users get on Monday
weekly_report | Summarise the week for the team
sales_dashboard | Refresh the sales dashboard
approve_release | Wait for a person to approve the release
etl | Extract, transform and load the sales data
train_model | Train the model on last week's data
multi_repo_sweep | Update the licence in every repository
sync_repos | Bring the repositories up to date
customer_onboarding | Send the new customer the first steps
release_train | Cut the release and roll it out
data_pipeline | Pull, clean and join the data
newsletter | Send out the newsletter
approvalWorkflow | Ask for approval, then go on
nightly_user_digest | A digest for each user every night
visualise_results | Draw a chart of the results
model_evaluation_pipeline | Evaluate the model in several stages
rollout-canary | Roll out to one in ten hosts first
refactor_imports | Refactor imports across repos
dependency_dag | Steps which depend on each other
backtest_strategy | Run the backtest on ten years of prices
orchestrate_builds | Fan out one build per platform
executive_summary | Email the summary to executives
interactive_review | Someone looks through the findings and signs them off
lineage | Show the lineage of each table
long_job_with_progress | People want to watch the progress in a UI
publish_site | Publish the public web pages
multi_step_cleanup | A workflow with several steps and retries
repository_audit | Audit trail across repositories
simulate_market | A complex simulation
monthly_invoice_report | Build the monthly report for finance
nightly_build | Build, test and publish with dependencies between stages
ml_training | Train and evaluate models
feature_pipeline | Feature engineering pipeline
security_scan_all_repos | Scan all repositories for vulnerabilities
dependency_update | Open pull requests for dependency updates in every repo
release_notes | Prepare release notes for customers
data_quality | Validate the warehouse; analysts look at the results in a UI
human_review | Wait for human approval before continuing
user_onboarding | Multi-step onboarding for new users
quality_gate | Run quality checks over multiple repositories
dbt_run | Run the dbt DAG
kpi_dashboard | Compute KPIs for the management dashboard
survey | Send a survey to users
branch_deploy | Deploy preview environments for each branch
ab_test_analysis | Analyse the A/B test and publish charts
migrate_services | Roll out the migration in several stages with approval
cross_repo_refactor | Refactor code across several repos
customer_export | Let customers download their data
forecast | A complex forecast with branching and state tracking
ci_pipeline | Continuous integration pipeline
incident_report | Assemble an incident report for stakeholders
repo_health_sweep | Sweep all repos, with a UI to follow
user_facing_report |
generate_invoices | Generate and send invoices to customers
code_quality_sweep |
deploy |
multi_repo_backup | Back up several repos
backup_repos | Back up all repos nightly
approve_deploy |
report |
daily_dashboard |
team_digest |
model_retraining |
complex_analysis |
ingest_pipeline |
customer_emails |
data_processing_workflow |
ETLJob |
notify_users |
user_sync |
observability_flow | needs observability
tracked | with state tracking
"""

LABELLED = [
    (*(part.strip() for part in line.partition("|")[::2]), engine)
    for engine, lines in (
        ("apscheduler", APSCHEDULER),
        ("oneiric", ONEIRIC),
        ("prefect", PREFECT),
    )
    for line in lines.strip().splitlines()
]


def test_names_and_sentences_are_read_as_a_person_reads_them() -> None:
    """At least 95 of 100 labelled tasks get the engine that a person chose for them."""
    confusion: Counter[tuple[str, str]] = Counter()
    wrong = []
    for name, sentence, label in LABELLED:
        answer = classify(name, description=sentence, catalog=Catalog())
        confusion[label, str(answer.backend)] += 1
        if answer.backend != label:
            wrong.append(f"{name} | {sentence}: {label}, not {answer.backend} {answer.reasons}")

    right = sum(count for (label, chosen), count in confusion.items() if label == chosen)

    assert len(LABELLED) >= 60
    assert right / len(LABELLED) >= 0.95, "\n".join([_draw(confusion), *wrong])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("health_check", "apscheduler"),
        ("metrics_collection", "apscheduler"),
        ("cache_cleanup", "apscheduler"),
        ("secret_rotation_check", "apscheduler"),
        ("git_polling", "apscheduler"),
        ("daily_backup", "oneiric"),
        ("rotate_keys", "oneiric"),
        ("code_sweep", "prefect"),
        ("user_dashboard", "prefect"),
        ("deploy_pipeline", "prefect"),
    ],
)
def test_a_name_alone_suffices_for_the_usual_chores(name: str, label: str) -> None:
    """The product's own chores and the examples of the guide need no description."""
    answer = classify(name, catalog=Catalog())

    assert answer.backend == label, answer.reasons


def _draw(confusion: Counter[tuple[str, str]]) -> str:
    engines = sorted({engine for pair in confusion for engine in pair})
    rows = [f"{'label / chosen':>16}" + "".join(f"{engine:>14}" for engine in engines)]
    rows += [
        f"{label:>16}" + "".join(f"{confusion[label, chosen]:>14}" for chosen in engines)
        for label in engines
    ]
    return "\n".join(rows)
