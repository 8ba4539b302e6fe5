"""The platform as processes: Postgres, webserver, daemons, code servers and S3, over a Kubernetes API that starts processes."""
