"""The alarm clock: APScheduler with our wake-up, job store, executor and trigger."""
