"""Our daemon, but it looks at backfills every second and at sensors every five. Dagster has settings for neither."""

from dagster._daemon import controller, sensor

from reformatters_dagster.orchestration.daemon import main

controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
sensor.is_under_min_interval = lambda *_, **__: False

if __name__ == "__main__":
    main()
